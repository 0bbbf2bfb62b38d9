import { createServer, type ServerHttp2Stream } from "node:http2";
import { createServer as createTcpServer, type Server } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { status } from "@grpc/grpc-js";
import { beforeEach, describe, expect, it } from "vitest";
import { type InMemoryModelRegistry, ModelBusyError, type ModelRegistry } from "../../lib/index.js";
import { failedStatus, frozenProcess, PATIENT, STATUS_TIMEOUT_MS, undisturbed } from "../support/faults.js";
import { fails, frees, hasMemory, loadProtocol, serveBackend, serveBytes } from "../support/grpc.js";
import { json } from "../support/http.js";
import { listen } from "../support/listeners.js";
import { end, isLinux } from "../support/processes.js";

/** A message as gRPC has it: a flag, the length of it, and itself. */
function grpcMessage(bytes: Buffer, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** { state: 2 } */
const READY = grpcMessage(Buffer.of(8, 2));

const COMPRESSED = 1;
const MORE_THAN_IT_TAKES = gzipSync(Buffer.alloc(100_000_000));

/** A server that answers each call like this. */
function answering(answer: (stream: ServerHttp2Stream) => void, more: Record<string, string> = {}) {
  return createServer().on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", ...more },
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    answer(stream);
  });
}

/** https://www.rfc-editor.org/rfc/rfc9113#section-4.1 */
function frame(type: number, flags: number, stream: number, payload = Buffer.of()): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** What a client says first. */
const PREFACE_BYTES = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".length;

function typesOf(frames: Buffer): number[] {
  const types = [];
  for (let at = 0; at + 9 <= frames.length; at += 9 + frames.readUIntBE(at, 3))
    types.push(frames.readUInt8(at + 3));
  return types;
}

/** Begins the headers of its answer, and goes on with them for as long as the connection is there. */
function headersWithoutAnEnd(): Server {
  const [HEADERS, SETTINGS, CONTINUATION] = [1, 4, 9];
  // Neither indexed nor in Huffman's code: https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2
  const field = Buffer.concat([Buffer.of(0, 1), Buffer.from("x"), Buffer.of(100), Buffer.alloc(100, "y")]);
  const more = frame(CONTINUATION, 0, 1, Buffer.concat(Array.from({ length: 100 }, () => field)));
  return createTcpServer((socket) => {
    socket.write(frame(SETTINGS, 0, 0));
    let read = Buffer.of();
    socket.on("data", function onData(data: Buffer) {
      read = Buffer.concat([read, data]);
      if (!typesOf(read.subarray(PREFACE_BYTES)).includes(HEADERS)) return;
      socket.off("data", onData).resume();
      socket.write(frame(HEADERS, 0, 1, Buffer.of(0x88)));
      const goOn = () => {
        while (socket.writable && socket.write(more));
        if (socket.writable) socket.once("drain", goOn);
      };
      goOn();
    });
  });
}

/** Writes again and again, for as long as somebody takes it. */
async function pour(stream: ServerHttp2Stream, bytes: Buffer, pauseMs: number) {
  while (!stream.destroyed) {
    if (!stream.write(bytes))
      await Promise.race([new Promise((drained) => stream.once("drain", drained)), delay(100)]);
    await delay(pauseMs);
  }
}

describe.skipIf(!isLinux)("a backend that answers with", () => {
  it.each([
    [
      "100 MB in 100 KB of gzip",
      "RESOURCE_EXHAUSTED",
      answering((stream) => stream.end(grpcMessage(MORE_THAN_IT_TAKES, COMPRESSED)), {
        "grpc-encoding": "gzip",
      }),
    ],
    [
      "what is not the gzip that it says",
      "INTERNAL",
      answering((stream) => stream.end(grpcMessage(Buffer.from("not gzip"), COMPRESSED)), {
        "grpc-encoding": "gzip",
      }),
    ],
    [
      "a message that is compressed in no way that it names",
      // For grpc-js it is an error without a code.
      expect.toBeOneOf(["UNKNOWN", "INTERNAL"]),
      answering((stream) => stream.end(grpcMessage(Buffer.from("?"), COMPRESSED))),
    ],
    [
      "the promise of 4 GB",
      "RESOURCE_EXHAUSTED",
      answering((stream) => stream.write(Buffer.of(0, 255, 255, 255, 255, 8, 2))),
    ],
    [
      "headers without an end",
      // Not every Node has the same word for it.
      expect.toBeOneOf(["RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL"]),
      headersWithoutAnEnd(),
    ],
  ])("%s is in error, and disturbs nobody", async (_what, code, server) => {
    const pid = await frozenProcess();
    await undisturbed(async ({ models, monitor }) => {
      const backend = await listen(server);
      models.register({ name: "m", address: backend.address, pid });
      for (let polls = 0; polls < 2; polls++)
        expect((await monitor("m")).json).toEqual(failedStatus(code, pid));
      backend.stop();
    }, PATIENT);
  });

  it.each([
    ["messages without an end", (stream: ServerHttp2Stream) => pour(stream, READY, 0)],
    [
      "a byte now and then, without an end",
      (stream: ServerHttp2Stream) => {
        stream.write(Buffer.of(0, 0, 1, 0, 0));
        return pour(stream, Buffer.of(0), 50);
      },
    ],
  ])("%s is given up", async (_what, answer) => {
    const pid = await frozenProcess();
    await undisturbed(
      async ({ models, monitor }) => {
        const backend = await listen(answering((stream) => void answer(stream)));
        models.register({ name: "m", address: backend.address, pid });
        expect((await monitor("m")).json).toEqual(failedStatus("DEADLINE_EXCEEDED", pid));
        backend.stop();
      },
      { statusTimeoutMs: STATUS_TIMEOUT_MS },
    );
  });
});

it("keys of any kind are members of the answer, and of nothing else", async () => {
  const keys = [
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "",
    "\u0000\u001b[2J\n",
    "</script>",
    "\u2028",
  ];
  const entries = keys.map((key, index): [string, number] => [key, index + 1]);
  const bytes = loadProtocol().service.Status?.responseSerialize({
    state: 2,
    // An object has no other way to have a member of the first of these names.
    memory: { total: 36, breakdown: Object.fromEntries(entries) },
  }) as Buffer;
  await undisturbed(async ({ models, monitor }) => {
    const backend = await serveBytes(bytes);
    models.register({ name: "m", address: backend.address });
    const { text, json: answer } = await monitor("m");
    expect(Object.entries(answer.memory.breakdown).sort()).toEqual(entries.sort());
    // What a terminal would obey is escaped, as JSON wants it.
    expect(text).toContain('"\\u0000\\u001b[2J\\n":6');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    backend.stop();
  }, PATIENT);
});

/** Clears the screen, sets the title of the window, starts a new line that is not the logger's, and hides what it says. */
const INJECTION = "boom \u001b[2J\u001b]0;title\u0007\r\n[INFO] all is well\u202e\u2028\u009b31m";
const ESCAPED = "boom \\u001b[2J\\u001b]0;title\\u0007";
/** What a terminal obeys, or what makes a line look like another. */
const OBEYED = /[^\P{C}\n]|[\p{Zl}\p{Zp}]/u;

describe("what a backend says of an error", () => {
  const said = fails(status.INTERNAL, INJECTION);
  let lines: string[] = [];
  const logger = {
    info: (line: string) => lines.push(line),
    error: (line: string) => lines.push(line),
  };
  beforeEach(() => {
    lines = [];
  });

  it.skipIf(!isLinux)("gets to the answer and to the log as one line, escaped", async () => {
    await undisturbed(
      async ({ models, pid, monitor }) => {
        const backend = await serveBackend({ Status: said });
        models.register({ name: "sampled", address: backend.address, pid });
        models.register({ name: "lost", address: backend.address, pid: await endedProcess() });
        const { status_error } = (await monitor("sampled")).json;
        expect(status_error).toEqual({ code: "INTERNAL", message: ESCAPED });
        const { error } = (await monitor("lost")).json;
        expect(error.type).toBe("backend_error");
        expect(error.message).toContain(`(INTERNAL: ${ESCAPED})`);
        backend.stop();
      },
      { ...PATIENT, logger },
    );
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).toContain(ESCAPED);
      expect(line).not.toMatch(OBEYED);
    }
  });

  it("is escaped in the log also where a registry hands it on as it is", async () => {
    const handsOn = (models: InMemoryModelRegistry): ModelRegistry => ({
      get: (name) => {
        if (name === "cursed") throw new Error(INJECTION, { cause: INJECTION });
        return models.get(name);
      },
      list: () => models.list(),
      shutdown: () => {
        throw Object.assign(new Error(INJECTION), { stderr: INJECTION });
      },
    });
    await undisturbed(
      async ({ models, monitor, send }) => {
        const backend = await serveBackend({ Status: hasMemory, Free: frees });
        models.register({ name: "m", address: backend.address });
        const answers = [await monitor("cursed"), await send("/backend/shutdown", json({ model: "m" }))];
        for (const { json: answer, text } of answers) {
          expect(answer.error.type).toBe("internal_error");
          expect(text).not.toContain("boom");
        }
        backend.stop();
      },
      { ...PATIENT, registryOf: handsOn, logger },
    );
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).toContain("boom");
      expect(line).not.toMatch(OBEYED);
      // A line of its own is no line of the log: it stands further in.
      expect(line).toMatch(/\n +\[INFO\] all is well/);
      expect(line).not.toMatch(/^\[INFO\]/m);
    }
  });

  it("is escaped in the log also where a registry gives it as the reason for not stopping", async () => {
    const busy = (models: InMemoryModelRegistry): ModelRegistry => ({
      get: (name) => models.get(name),
      list: () => models.list(),
      shutdown: () => {
        throw new ModelBusyError(INJECTION);
      },
    });
    await undisturbed(
      async ({ models, send }) => {
        const backend = await serveBackend({ Status: hasMemory, Free: frees });
        models.register({ name: "m", address: backend.address });
        expect((await send("/backend/shutdown", json({ model: "m" }))).json.error.type).toBe("model_busy");
        backend.stop();
      },
      { ...PATIENT, registryOf: busy, logger },
    );
    expect(lines).toEqual([expect.stringContaining("boom")]);
    expect(lines[0]).not.toMatch(OBEYED);
    expect(lines[0]).not.toMatch(/^\[INFO\]/m);
  });
});

async function endedProcess(): Promise<number> {
  const pid = await frozenProcess();
  await end(pid);
  return pid;
}
