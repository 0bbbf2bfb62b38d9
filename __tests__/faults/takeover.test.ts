import { randomBytes } from "node:crypto";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { generate } from "selfsigned";
import { describe, expect, it } from "vitest";
import { failedStatus, frozenProcess, PATIENT, REPORT, undisturbed } from "../support/faults.js";
import { isOk, serveBackend, type TestBackend } from "../support/grpc.js";
import { listen } from "../support/listeners.js";
import { end, isLinux, startScript } from "../support/processes.js";

const { private: key, cert } = await generate([{ name: "commonName", value: "localhost" }]);

describe.skipIf(!isLinux)("the port of a backend that was killed, when it is taken over by", () => {
  it.each<[what: string, takeOver: (port: number) => Promise<TestBackend>, code: string, state: number]>([
    [
      "an HTTP/1 server",
      (port) =>
        listen(
          createHttpServer((_req, res) => res.end("hello")),
          port,
        ),
      "UNAVAILABLE",
      -1,
    ],
    ["a TLS server", (port) => listen(createTlsServer({ key, cert }), port), "UNAVAILABLE", -1],
    [
      "one that sends whatever it likes",
      (port) =>
        listen(
          createServer((socket) => socket.write(randomBytes(4096))),
          port,
        ),
      "UNAVAILABLE",
      -1,
    ],
    ["another gRPC service", (port) => serveBackend({}, `127.0.0.1:${port}`), "UNIMPLEMENTED", -1],
    [
      "one that is healthy",
      (port) => serveBackend({ Health: isOk }, `127.0.0.1:${port}`),
      "UNIMPLEMENTED",
      2,
    ],
  ])("%s, is not taken for the backend", async (_what, takeOver, code, state) => {
    const pid = await frozenProcess();
    await undisturbed(async ({ models, monitor }) => {
      const backend = await startScript("reporting.mjs");
      const port = Number(backend.words[0]);
      models.register({ name: "m", address: `127.0.0.1:${port}`, pid });
      expect((await monitor("m")).json).toEqual(REPORT);
      await end(backend.pid);
      const other = await takeOver(port);
      // Until it has connected anew, what it says is that the backend is gone.
      await expect
        .poll(async () => (await monitor("m")).json, { timeout: 4_000 })
        .toEqual(failedStatus(code, pid, state));
      for (let polls = 0; polls < 2; polls++) {
        expect((await monitor("m")).json).toEqual(failedStatus(code, pid, state));
      }
      other.stop();
    }, PATIENT);
  });
});
