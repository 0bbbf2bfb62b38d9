import { type Answer, type RequestOptions, send } from "./http.js";

/** Does what a curl line says. curl itself may not be installed. */
export function curl(line: string): Promise<Answer> {
  const [command = ""] = line.split(" # ");
  const words = [...command.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c ?? "");
  const options: RequestOptions = {};
  let url = "";
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "-X") options.method = words.shift() ?? "";
    else if (word === "-d") options.body = words.shift() ?? "";
    else if (word === "-H") {
      const [name = "", value = ""] = (words.shift() ?? "").split(": ");
      options.headers = { ...options.headers, [name]: value };
    } else if (word !== "curl") url = word;
  }
  if (options.body !== undefined) options.method ??= "POST";
  return send(url, options);
}
