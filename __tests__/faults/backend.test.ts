import { once } from "node:events";
import { createServer as createHttp2Server } from "node:http2";
import { connect, createServer, type Server, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import {
  failedStatus,
  frozenProcess,
  PATIENT,
  REPORT,
  STATUS_TIMEOUT_MS,
  undisturbed,
} from "../support/faults.js";
import { answering, listen } from "../support/listeners.js";
import { end, freeze, isLinux, startScript } from "../support/processes.js";

/** A backend that comes back is seen again within a second. A machine may be busy. */
const BACK = { timeout: 1_000 + 3_000 };

/** It says that the message has 35 bytes. */
const PART_OF_A_MESSAGE = Buffer.from("0000000023" + "08021000", "hex");

/** It says that the headers have 64 bytes; the first one is status 200. */
const PART_OF_THE_HEADERS = Buffer.from("000040" + "01" + "04" + "00000001" + "88", "hex");

describe.skipIf(!isLinux)("a backend that is", () => {
  describe("killed in the middle of a call", () => {
    async function killInCall(pidOf: (backend: number) => number, expected: (pid: number) => object) {
      await undisturbed(async ({ models, monitor }) => {
        const backend = await startScript("reporting.mjs", ["--answers", "1"]);
        const pid = pidOf(backend.pid);
        models.register({ name: "m", address: `127.0.0.1:${backend.words[0]}`, pid });
        expect((await monitor("m")).json).toEqual(REPORT);
        const asked = once(backend.process.stdout as NodeJS.ReadableStream, "data");
        const answer = monitor("m");
        await asked;
        await end(backend.pid);
        expect((await answer).json).toEqual(expected(pid));
        expect((await monitor("m")).json).toEqual(expected(pid));
      }, PATIENT);
    }

    it("is an error where its process is all there was", async () => {
      await killInCall(
        (backend) => backend,
        (pid) => ({
          error: {
            code: 500,
            type: "backend_error",
            message: expect.stringMatching(
              new RegExp(`^model "m": its backend's Status call failed \\(UNAVAILABLE: .*process ${pid} `),
            ),
          },
        }),
      );
    });

    it("has the figures of the process that started it", async () => {
      const parent = await frozenProcess();
      await killInCall(
        () => parent,
        (pid) => failedStatus("UNAVAILABLE", pid),
      );
    });
  });

  it("stopped has the figures of its process, and is itself again when it is continued", async () => {
    await undisturbed(async ({ models, monitor }) => {
      const { pid, words } = await startScript("reporting.mjs");
      models.register({ name: "m", address: `127.0.0.1:${words[0]}`, pid });
      expect((await monitor("m")).json).toEqual(REPORT);
      await freeze(pid);
      for (let polls = 0; polls < 2; polls++) {
        expect((await monitor("m")).json).toEqual(failedStatus("DEADLINE_EXCEEDED", pid));
      }
      process.kill(pid, "SIGCONT");
      await expect.poll(async () => (await monitor("m")).json, BACK).toEqual(REPORT);
      await end(pid);
    });
  });

  it("too slow to accept has the figures of its process, and is itself again when it accepts", async () => {
    await undisturbed(async ({ models, monitor }) => {
      const listenOptions = JSON.stringify({ host: "127.0.0.1", port: 0, backlog: 1 });
      const { pid, words } = await startScript("reporting.mjs", ["--listen", listenOptions]);
      await freeze(pid);
      const port = Number(words[0]);
      // One more than the length of the queue is let in.
      const queue = [connect(port, "127.0.0.1"), connect(port, "127.0.0.1")];
      await Promise.all(queue.map((socket) => once(socket, "connect")));
      models.register({ name: "m", address: `127.0.0.1:${port}`, pid });
      for (let polls = 0; polls < 2; polls++) {
        expect((await monitor("m")).json).toEqual(failedStatus("DEADLINE_EXCEEDED", pid));
      }
      process.kill(pid, "SIGCONT");
      await expect.poll(async () => (await monitor("m")).json, BACK).toEqual(REPORT);
      for (const socket of queue) socket.destroy();
      await end(pid);
    });
  });
});

describe.skipIf(!isLinux)("a backend that", () => {
  const SOON = { statusTimeoutMs: STATUS_TIMEOUT_MS };

  it.each<[what: string, create: () => Server, code: string, options: typeof SOON]>([
    ["accepts and says nothing", () => createServer(), "DEADLINE_EXCEEDED", SOON],
    ["accepts and closes", () => createServer((socket) => socket.destroy()), "UNAVAILABLE", PATIENT],
    ["closes in the middle of the headers", endingInHeaders, "UNAVAILABLE", PATIENT],
    [
      "says nothing after a part of the message",
      () => answering((stream) => stream.write(PART_OF_A_MESSAGE)),
      "DEADLINE_EXCEEDED",
      SOON,
    ],
    [
      "closes in the middle of the message",
      () => answering((stream) => stream.write(PART_OF_A_MESSAGE, () => stream.session?.destroy())),
      "UNAVAILABLE",
      PATIENT,
    ],
    [
      "resets the call in the middle of the message",
      () => answering((stream) => stream.write(PART_OF_A_MESSAGE, () => stream.close(2))),
      "INTERNAL",
      PATIENT,
    ],
    [
      "ends the call in the middle of the message, without a status",
      () =>
        answering((stream) => {
          stream.on("wantTrailers", () => stream.close());
          stream.end(PART_OF_A_MESSAGE);
        }),
      "INTERNAL",
      PATIENT,
    ],
    [
      // So gRPC calls it where there is not the one message that there has to be.
      "says that all is well after a part of the message",
      () =>
        answering((stream) => {
          stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
          stream.end(PART_OF_A_MESSAGE);
        }),
      "UNIMPLEMENTED",
      PATIENT,
    ],
  ])("%s is in error, with the figures of its process", async (_what, create, code, options) => {
    const pid = await frozenProcess();
    await undisturbed(async ({ models, monitor }) => {
      const backend = await listen(create());
      models.register({ name: "m", address: backend.address, pid });
      for (let polls = 0; polls < 2; polls++) {
        expect((await monitor("m")).json).toEqual(failedStatus(code, pid));
      }
      backend.stop();
    }, options);
  });
});

function endingInHeaders(): Server {
  let socket: Socket;
  return createHttp2Server()
    .on("connection", (connection) => {
      socket = connection;
    })
    .on("stream", (stream) => {
      stream.on("error", () => {});
      socket.end(PART_OF_THE_HEADERS);
    });
}
