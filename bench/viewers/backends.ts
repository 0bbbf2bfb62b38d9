/**
 * Backends of so many models, each of which reports other memory each time that it is asked, so that every sample has something
 * to tell of each; and a process for each of them. `node:http2` alone, so that as little as possible is measured of what they
 * cost themselves.
 *
 *   node backends.js MODELS
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";

/** What the parent is told: where each model is served, and its process. */
export type Served = { address: string; pid: number }[];

const models = Number(process.argv[2] ?? 1);

const GRPC = { ":status": 200, "content-type": "application/grpc" };
/** `{ state: 2, memory: { total: 2³⁴, breakdown: { weights: 200, kv_cache: 100 } } }`, behind gRPC's five bytes. */
const STATUS = Buffer.from(
  "0000000026080212220880808080" + "40120c0a077765696768747310c801" + "120c0a086b765f63616368651064",
  "hex",
);
/** Where the lowest seven bits of the total are. */
const TOTAL_AT = 10;

async function listen(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  let calls = 0;
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    const message = Buffer.from(STATUS);
    message[TOTAL_AT] = 0x80 | (calls++ & 0x7f);
    stream.respond(GRPC, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(message);
  });
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const workers = Array.from({ length: models }, () =>
  spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"], { stdio: "ignore" }),
);
process.on("disconnect", () => {
  for (const worker of workers) worker.kill("SIGKILL");
  process.exit();
});
const served: Served = [];
for (const { pid = 0 } of workers) served.push({ address: await listen(), pid });
process.send?.(served);
