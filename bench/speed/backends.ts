/**
 * The backends: `node:http2` alone, so that as little as possible is measured of what they cost themselves. The first ports
 * are those of backends whose `Status` answers with memory; the last is that of one that has `Health` alone, as most of
 * LocalAI's, and the first process of a tree of `processes`.
 *
 *   node backends.js REPORTING PROCESSES
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";

/** What the parent is told. */
export interface Backends {
  reporting: string[];
  healthOnly: string;
}

const [reporting = 1, processes = 1] = process.argv.slice(2).map(Number);

const GRPC = { ":status": 200, "content-type": "application/grpc" };
/** `{ state: 2, memory: { total: 300, breakdown: { weights: 200, kv_cache: 100 } } }`, behind gRPC's five bytes. */
const STATUS = Buffer.from(
  "00000000230802121f08ac02120c0a077765696768747310c801120c0a086b765f63616368651064",
  "hex",
);
/** `{ message: "OK" }` */
const OK = Buffer.from("00000000040a024f4b", "hex");

function reply(stream: ServerHttp2Stream, message: Buffer): void {
  stream.respond(GRPC, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(message);
}

async function listen(answers: Record<string, Buffer>): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    const message = answers[String(headers[":path"])];
    if (message) reply(stream, message);
    else
      stream.respond({ ...GRPC, "grpc-status": "12", "grpc-message": "unknown method" }, { endStream: true });
  });
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const addresses: string[] = [];
for (let count = 0; count < reporting; count++) {
  addresses.push(await listen({ "/backend.Backend/Status": STATUS, "/backend.Backend/Health": OK }));
}
const workers: ChildProcess[] = [];
for (let count = 1; count < processes; count++) {
  workers.push(spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"], { stdio: "ignore" }));
}
process.on("disconnect", () => {
  for (const worker of workers) worker.kill("SIGKILL");
  process.exit();
});
const backends: Backends = {
  reporting: addresses,
  healthOnly: await listen({ "/backend.Backend/Health": OK }),
};
process.send?.(backends);
