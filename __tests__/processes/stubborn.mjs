// Ignores SIGTERM, and starts a child that does so too where it is told "parent". A "mortal" parent dies of SIGTERM.
// With --listen it listens, at the port of --addr or a free one, and prints port:PORT too.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const [role, ...args] = process.argv.slice(2);
if (role !== "mortal") process.on("SIGTERM", () => {});
const words = [process.pid];
if (role === "parent" || role === "mortal") {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  words.push((await once(createInterface({ input: child.stdout }), "line"))[0]);
}
if (args.includes("--listen")) {
  const address = args[args.indexOf("--addr") + 1] ?? "";
  const port = args.includes("--addr") ? Number(address.split(":")[1]) : 0;
  const server = createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  words.push(`port:${server.address().port}`);
}
console.log(words.join(" "));
setInterval(() => {}, 1000);
