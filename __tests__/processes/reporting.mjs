// A backend on node:http2 alone, so that it is there at once: Status answers with memory, at as many ports of 127.0.0.1 as
// the first argument says. It prints them. With --listen it listens as these options of net.Server say, in JSON. With
// --answers it answers only so many calls, and prints "asked" for each one that it leaves without an answer.
import { once } from "node:events";
import { createServer } from "node:http2";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  options: {
    listen: { type: "string", default: '{"host":"127.0.0.1","port":0}' },
    answers: { type: "string", default: "Infinity" },
  },
  allowPositionals: true,
});

const GRPC = { ":status": 200, "content-type": "application/grpc" };
/** { state: 2, memory: { total: 300, breakdown: { weights: 200, kv_cache: 100 } } }, behind a byte of flags and four of length. */
const WEIGHTS = "120c0a077765696768747310c801";
const KV_CACHE = "120c0a086b765f63616368651064";
const STATUS = Buffer.from(`00000000230802121f08ac02${WEIGHTS}${KV_CACHE}`, "hex");

let answersLeft = Number(values.answers);
const ports = [];
for (let count = Number(positionals[0] ?? 1); count > 0; count--) {
  const server = createServer().listen(JSON.parse(values.listen));
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    if (answersLeft-- <= 0) return console.log("asked");
    stream.respond(GRPC, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(STATUS);
  });
  await once(server, "listening");
  ports.push(server.address().port);
}
console.log(ports.join(" "));
