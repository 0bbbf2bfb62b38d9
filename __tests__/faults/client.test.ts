import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setImmediate } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, it, vi } from "vitest";
import type { InMemoryModelRegistry, ModelRegistry } from "../../lib/index.js";
import { REPORT, undisturbed } from "../support/faults.js";
import { neverReplies, serveBackend } from "../support/grpc.js";
import { undisturbedProcess } from "../support/host-process.js";
import { isLinux } from "../support/processes.js";

const HOST = "Host: localhost";
const JSON_TYPE = "Content-Type: application/json";

/** A request as it goes over the wire. */
function request(line: string, headers: string[] = [], body = ""): string {
  return `${[`${line} HTTP/1.1`, HOST, ...headers].join("\r\n")}\r\n\r\n${body}`;
}

const get = (model: string) => request(`GET /backend/monitor?model=${encodeURIComponent(model)}`);

function post(body: string, ...headers: string[]): string {
  return request("POST /backend/shutdown", [JSON_TYPE, `Content-Length: ${body.length}`, ...headers], body);
}

const chunk = (data: string) => `${data.length.toString(16)}\r\n${data}\r\n`;
const LAST_CHUNK = "0\r\n\r\n";

async function dial(url: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1")
    .setEncoding("latin1")
    .setNoDelay();
  // One that is reset by the host says so to whoever reads from it.
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** Writes bytes that are strings, one for each character; resolves when the system has taken them. */
function write(socket: Socket, bytes: string): Promise<void> {
  return new Promise((resolve) => socket.write(bytes, "latin1", () => resolve()));
}

/** The answers on a connection, one after another. */
async function* answersOn(socket: Socket): AsyncGenerator<{ status: number; json: unknown }> {
  let text = "";
  for await (const data of socket) {
    text += data;
    for (;;) {
      const [head = ""] = /^HTTP\/1\.1 .*?\r\n\r\n/s.exec(text) ?? [];
      const length = Number(/^content-length: (\d+)\r$/im.exec(head)?.[1] ?? 0);
      if (head === "" || text.length < head.length + length) break;
      const body = text.slice(head.length, head.length + length);
      text = text.slice(head.length + length);
      yield { status: Number(head.split(" ")[1]), json: body === "" ? undefined : JSON.parse(body) };
    }
  }
}

/** A registry that notes what it is asked for, and that has models of its own, of which nothing is left when they are stopped. */
function registry(notes: { looked?: string[]; stopped?: string[] }, ...names: string[]) {
  const own = new Set(names);
  return (models: InMemoryModelRegistry): ModelRegistry => ({
    get: (name) => {
      if (name !== "bystander") notes.looked?.push(name);
      return own.has(name) ? { name, address: "127.0.0.1:1" } : models.get(name);
    },
    list: () => models.list(),
    shutdown: (name) => {
      own.delete(name);
      notes.stopped?.push(name);
    },
  });
}

const tooLarge = {
  status: 413,
  json: {
    error: { code: 413, type: "invalid_request_error", message: "the body is larger than 16384 bytes" },
  },
};

const waysToHangUp: [string, (socket: Socket) => unknown][] = [
  ["closes", (socket) => socket.destroy()],
  ["ends", (socket) => socket.end()],
  ["resets", (socket) => socket.resetAndDestroy()],
];

describe.each(waysToHangUp)("a client that %s its connection", (_how, hangUp) => {
  it("in the middle of a request is nothing to be told of, and nothing is looked up", async () => {
    const looked: string[] = [];
    const error = vi.fn();
    await undisturbed(
      async ({ url, monitor }) => {
        const whole = [
          "GET /backend/mon",
          `GET /backend/monitor?model=m HTTP/1.1\r\n${HOST}\r\nX-Hal`,
          post('{"model": "m"}').slice(0, -5),
          request(
            "POST /backend/shutdown",
            [JSON_TYPE, "Transfer-Encoding: chunked"],
            `${chunk('{"mod')}5\r\nel`,
          ),
          post(gzipSync('{"model": "m"}').toString("latin1").padEnd(40), "Content-Encoding: gzip").slice(
            0,
            -5,
          ),
        ];
        const sockets = await Promise.all(whole.map(() => dial(url)));
        await Promise.all(sockets.map((socket, index) => write(socket, whole[index] ?? "")));
        await monitor("bystander");
        await Promise.all(sockets.map((socket) => [hangUp(socket), once(socket.resume(), "close")][1]));
      },
      { registryOf: registry({ looked }), logger: { info: () => {}, error } },
    );
    expect(looked).toEqual([]);
    expect(error).not.toHaveBeenCalled();
  });

  it("while the answer is awaited disturbs nobody", async () => {
    const backend = await serveBackend({ Status: neverReplies });
    const looked: string[] = [];
    const error = vi.fn();
    await undisturbed(
      async ({ models, pid, url, monitor }) => {
        models.register({ name: "m", address: backend.address, pid });
        const sockets = await Promise.all(Array.from({ length: 20 }, () => dial(url)));
        await Promise.all(sockets.map((socket) => write(socket, get("m"))));
        await expect.poll(() => looked).toHaveLength(20);
        await Promise.all(sockets.map((socket) => [hangUp(socket), once(socket.resume(), "close")][1]));
        expect((await monitor("m")).json).toMatchObject({ status_error: { code: "DEADLINE_EXCEEDED" } });
        backend.stop();
      },
      { registryOf: registry({ looked }), logger: { info: () => {}, error } },
    );
    expect(error).not.toHaveBeenCalled();
  });
});

describe("a client that sends", () => {
  it("a byte at a time is answered as any other", async () => {
    const stopped: string[] = [];
    const letters = Array.from('{"model": "c"}', chunk).join("");
    const gzip = gzipSync('{"model": "b"}').toString("latin1");
    const report = { status: 200, json: REPORT };
    const isStopped = { status: 200, json: { message: "model stopped" } };
    await undisturbed(
      async ({ url }) => {
        for (const [bytes, answer] of [
          [get("bystander"), report],
          [
            request("GET /backend/monitor", [JSON_TYPE, "Content-Length: 22"], '{"model": "bystander"}'),
            report,
          ],
          [post('{"model": "a"}'), isStopped],
          [post(gzip, "Content-Encoding: gzip"), isStopped],
          [
            request(
              "POST /backend/shutdown",
              [JSON_TYPE, "Transfer-Encoding: chunked"],
              letters + LAST_CHUNK,
            ),
            isStopped,
          ],
        ] as const) {
          const socket = await dial(url);
          for (const byte of bytes) await write(socket, byte).then(() => setImmediate());
          expect((await answersOn(socket).next()).value).toEqual(answer);
          socket.destroy();
        }
      },
      { registryOf: registry({ stopped }, "a", "b", "c") },
    );
    expect(stopped).toEqual(["a", "b", "c"]);
  });
});

describe("10 MB", () => {
  const SIZE = 10_000_000;
  /** Less than 10 KB on the wire. */
  const bomb = gzipSync(Buffer.alloc(SIZE, " ")).toString("latin1");
  const begin = (headers: string[], body: string) =>
    request("POST /backend/shutdown", [JSON_TYPE, ...headers], body);

  it.each([
    ["with a length", begin([`Content-Length: ${SIZE}`], '{"model": '), " ".repeat(SIZE - 10)],
    [
      "in chunks",
      begin(["Transfer-Encoding: chunked"], chunk('{"model": "m"}'.padEnd(20_000))),
      chunk(" ".repeat(20_000)).repeat(500) + LAST_CHUNK,
    ],
    ["of gzip with a length", post(bomb, "Content-Encoding: gzip"), ""],
    [
      "of gzip in chunks",
      begin(["Transfer-Encoding: chunked", "Content-Encoding: gzip"], chunk(bomb).repeat(2)),
      chunk(bomb).repeat(1000) + LAST_CHUNK,
    ],
  ])(
    "%s are refused before they have all come, and the connection is good for more",
    async (_how, first, rest) => {
      const looked: string[] = [];
      await undisturbed(
        async ({ url }) => {
          const socket = await dial(url);
          const answers = answersOn(socket);
          await write(socket, first);
          expect((await answers.next()).value).toEqual(tooLarge);
          await write(socket, rest + get("bystander"));
          expect((await answers.next()).value).toEqual({ status: 200, json: REPORT });
          socket.destroy();
        },
        { registryOf: registry({ looked }) },
      );
      expect(looked).toEqual([]);
    },
  );
});

describe("two requests on one connection", () => {
  it("are answered in turn, each with its own", async () => {
    const stopped: string[] = [];
    await undisturbed(
      async ({ url }) => {
        const socket = await dial(url);
        const answers = answersOn(socket);
        await write(
          socket,
          get("bystander") + post("{}") + post('{"model": "m"}') + get("no model") + get("bystander"),
        );
        const answered = [];
        while (answered.length < 5) answered.push((await answers.next()).value);
        expect(answered).toMatchObject([
          { status: 200, json: REPORT },
          { status: 400, json: { error: { type: "invalid_request_error" } } },
          { status: 200, json: { message: "model stopped" } },
          { status: 500, json: { error: { type: "model_not_loaded" } } },
          { status: 200, json: REPORT },
        ]);
        socket.destroy();
      },
      { registryOf: registry({ stopped }, "m") },
    );
    expect(stopped).toEqual(["m"]);
  });

  it.each([
    ["two bodies, of which the length covers one", `${post('{"model": "one"}')}{"model": "two"}`],
    [
      "a length, and chunks",
      request(
        "POST /backend/shutdown",
        [JSON_TYPE, "Content-Length: 16", "Transfer-Encoding: chunked"],
        chunk('{"model": "two"}') + LAST_CHUNK,
      ),
    ],
    ["two lengths", post('{"model": "two"}', "Content-Length: 3")],
    [
      "a chunk that is longer than it says",
      request(
        "POST /backend/shutdown",
        [JSON_TYPE, "Transfer-Encoding: chunked"],
        `3\r\n{"model": "two"}\r\n${LAST_CHUNK}`,
      ),
    ],
  ])("are not to be read into %s: the connection is closed", async (_what, bytes) => {
    const looked: string[] = [];
    const stopped: string[] = [];
    await undisturbed(
      async ({ url }) => {
        const socket = await dial(url);
        const closed = once(socket, "close");
        let text = "";
        socket.on("data", (data) => {
          text += data;
        });
        await write(socket, bytes);
        await closed;
        expect(text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
      },
      { registryOf: registry({ looked, stopped }, "one", "two") },
    );
    expect(looked).not.toContain("two");
    expect(stopped).not.toContain("two");
  });
});

/** Each takes a file descriptor on either side, and there are more of those than connections. */
const AT_ONCE = 2_000;
const hasFilesForAll = isLinux && Number(execFileSync("sh", ["-c", "ulimit -n"])) > AT_ONCE + 500;

describe.skipIf(!hasFilesForAll)(`${AT_ONCE} connections at once`, () => {
  it("are each given their own answer", async () => {
    await // Whoever asks together with so many has to wait for his turn.
    await undisturbedProcess({ statusTimeoutMs: 15_000, lateMs: 15_000 }, async ({ url }) => {
      const sockets = await Promise.all(Array.from({ length: AT_ONCE }, () => dial(url)));
      const answers = await Promise.all(
        sockets.map(async (socket, index) => {
          await write(socket, get(index % 2 === 0 ? "bystander" : `no model ${index}`));
          const { value } = await answersOn(socket).next();
          socket.destroy();
          return value;
        }),
      );
      for (const [index, answer] of answers.entries()) {
        const message = `model "no model ${index}" is not loaded`;
        const notLoaded = { status: 500, json: { error: { code: 500, type: "model_not_loaded", message } } };
        expect(answer).toEqual(index % 2 === 0 ? { status: 200, json: REPORT } : notLoaded);
      }
    });
  });
});
