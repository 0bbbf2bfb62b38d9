import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { type AddressInfo, createConnection, type Socket } from "node:net";
import compression from "compression";
import { describe, expect, it, onTestFinished } from "vitest";
import type { ModelRegistry } from "../../lib/index.js";
import { CountingRegistry, isLeft, MOUNT, serveDashboard } from "../support/dashboard.js";
import { createSupervisor, nasty } from "../support/supervisor.js";

const PATH = "/api/logs?model=m";

/** A registry that keeps these logs. */
function registryWith(logs: Pick<ModelRegistry, "logs" | "followLogs">): ModelRegistry {
  return Object.assign(new CountingRegistry(), logs);
}

/** A log that a test writes, and what became of whoever follows it. */
function testLog() {
  const chunks: string[] = [];
  const state = { asked: 0, isAborted: false, isReturned: false };
  let wake = () => {};
  let fail: Error | undefined;
  const followLogs = (_name: string, signal: AbortSignal): AsyncIterable<string> => {
    signal.addEventListener("abort", () => {
      state.isAborted = true;
    });
    return {
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          state.asked++;
          while (chunks.length === 0 && !fail) await new Promise<void>((resolve) => (wake = resolve));
          if (chunks.length === 0 && fail) throw fail;
          const value = chunks.shift() ?? "";
          return value === "END" ? { done: true, value: undefined } : { done: false, value };
        },
        return: async () => {
          state.isReturned = true;
          return { done: true, value: undefined };
        },
      }),
    };
  };
  const write = (chunk: string) => {
    chunks.push(chunk);
    wake();
  };
  const failWith = (error: Error) => {
    fail = error;
    wake();
  };
  return { followLogs, state, write, failWith };
}

/** Begins to read; what has come so far grows. */
async function follow(url: string): Promise<{ res: IncomingMessage; read: () => string }> {
  const req = get(url, { agent: false });
  onTestFinished(() => void req.destroy());
  const [res] = (await once(req, "response")) as [IncomingMessage];
  let text = "";
  res.setEncoding("utf8").on("data", (chunk) => (text += chunk));
  res.on("error", () => {});
  return { res, read: () => text };
}

describe("GET api/logs", () => {
  it("answers with what a model has printed lately, as text", async () => {
    const text = "<script>alert(1)</script>\r\n\x1b[31mred\0 🦙\n";
    const { send } = await serveDashboard({
      registry: registryWith({ logs: (name) => (name === "m" ? text : "") }),
    });
    for (const query of ["", "&follow=false"]) {
      const answer = await send(`${PATH}${query}`);
      expect(answer).toMatchObject({ status: 200, text });
      expect(answer.headers).toMatchObject({
        "content-type": "text/plain; charset=utf-8",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store, no-transform",
      });
    }
    expect(await send(PATH, { method: "HEAD" })).toMatchObject({ status: 200, text: "" });
    expect(await send("/api/logs?model=silent")).toMatchObject({ status: 200, text: "" });
  });

  it("has the log of a supervised backend, also once that is gone", async () => {
    const { supervisor } = createSupervisor();
    await expect(supervisor.start(nasty("failing").start)).rejects.toThrow("code 7");
    const { send } = await serveDashboard({ registry: supervisor });
    const lines = Array.from({ length: 30 }, (_, line) => `line ${line + 1} of what went wrong`);
    const { text } = await send(PATH);
    expect(text.trim().split("\n").sort()).toEqual([...lines, "this goes to stdout"].sort());
    expect((await send("/api/logs?model=other")).json).toEqual({
      error: {
        code: 500,
        type: "model_not_loaded",
        message: 'there are no logs of model "other": it is not loaded, nor was it lately',
      },
    });
  });

  it.each([
    ["", "logs"],
    ["&follow=true", "followLogs"],
  ])("answers 404 where the registry has no such logs (%s)", async (query, method) => {
    const { send } = await serveDashboard({ registry: registryWith({}) });
    const answer = await send(`${PATH}${query}`);
    expect(answer.json).toEqual({
      error: {
        code: 404,
        type: "invalid_request_error",
        message: `the registry keeps no logs: it has no ${method}()`,
      },
    });
    expect(answer.status).toBe(404);
    expect((await send("/api/backends")).json.logs).toBe(false);
  });

  it("has the snapshot say whether logs can be followed", async () => {
    const { send, view } = await serveDashboard({ registry: registryWith(testLog()) });
    expect((await send("/api/backends")).json.logs).toBe(true);
    expect((await (await view()).next("snapshot")).data.logs).toBe(true);
  });

  it.each<[what: string, logs: Pick<ModelRegistry, "logs" | "followLogs">, query: string]>([
    ["throws", { logs: () => fails("secret") }, ""],
    ["rejects", { logs: () => Promise.reject(new Error("secret")) }, ""],
    ["returns nonsense", { logs: () => ["secret"] as never }, ""],
    ["never answers", { logs: () => new Promise<string>(() => {}) }, ""],
    ["throws at once", { followLogs: () => fails("secret") }, "&follow=true"],
    ["returns a string", { followLogs: () => "secret" as never }, "&follow=true"],
    ["returns what can't be read", { followLogs: () => ({}) as never }, "&follow=true"],
  ])("answers that the registry failed where it %s", async (_what, logs, query) => {
    const errors: string[] = [];
    const logger = { info: () => {}, error: (message: string) => errors.push(message) };
    const { send } = await serveDashboard({ registry: registryWith(logs), logger, statusTimeoutMs: 200 });
    const { status, json, text } = await send(`${PATH}${query}`);
    expect(status).toBe(500);
    expect(json.error.type).toBe("internal_error");
    expect(text).not.toContain("secret");
    expect(errors).toHaveLength(1);
  });

  it("answers where nothing is known of the model, followed or not", async () => {
    const nothing = { logs: async () => undefined, followLogs: () => undefined };
    const { send } = await serveDashboard({ registry: registryWith(nothing) });
    for (const query of ["", "&follow=true"]) {
      expect((await send(`${PATH}${query}`)).json.error).toMatchObject({
        code: 500,
        type: "model_not_loaded",
      });
    }
  });

  it.each([
    ["&follow=1", /^"follow" must be true or false, got the string "1"$/],
    ["&follow", /^"follow" must be true or false, got the string ""$/],
    ["&follow=true&follow=true", /"follow" 2 times; send it once/],
    ["&follow=tru%65&f%6fllow=false", /"follow" 2 times; send it once/],
    ["&follow=%ff", /^"follow" in the query is not valid UTF-8/],
  ])("answers %s with 400", async (query, message) => {
    const { send } = await serveDashboard({ registry: registryWith({ logs: () => "" }) });
    expect((await send(`${PATH}${query}`)).json.error).toEqual({
      code: 400,
      type: "invalid_request_error",
      message: expect.stringMatching(message),
    });
  });
});

describe("a log that is followed", () => {
  it("comes as it is written, also through compression, until the client leaves", async () => {
    const log = testLog();
    const errors: string[] = [];
    const logger = { info: () => {}, error: (message: string) => errors.push(message) };
    const { url, server } = await serveDashboard(
      { registry: registryWith(log), logger },
      compression({ threshold: 0, filter: () => true }),
    );
    const { res, read } = await follow(`${url}${PATH}&follow=tru%65`);
    expect(res.headers).toMatchObject({
      "content-type": "text/plain; charset=utf-8",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store, no-transform",
    });
    for (const chunk of ["tail\n", "", "one\n", "🦙\n"]) log.write(chunk);
    await expect.poll(read).toBe("tail\none\n🦙\n");
    expect(log.state).toMatchObject({ isAborted: false, isReturned: false });
    res.destroy();
    await isLeft(server);
    await expect.poll(() => log.state).toMatchObject({ isAborted: true, isReturned: true });
    expect(errors).toEqual([]);
  });

  it("ends where the registry has it end", async () => {
    const log = testLog();
    const { send } = await serveDashboard({ registry: registryWith(log) });
    log.write("tail\n");
    log.write("END");
    expect(await send(`${PATH}&follow=true`)).toMatchObject({ status: 200, text: "tail\n" });
    await expect.poll(() => log.state.isAborted).toBe(true);
  });

  it("answers HEAD, and is not followed for it", async () => {
    const log = testLog();
    const { send } = await serveDashboard({ registry: registryWith(log) });
    expect(await send(`${PATH}&follow=true`, { method: "HEAD" })).toMatchObject({ status: 200, text: "" });
    await expect.poll(() => log.state).toEqual({ asked: 0, isAborted: true, isReturned: true });
  });

  it.each([
    ["throws", (log: ReturnType<typeof testLog>) => log.failWith(new Error("secret"))],
    ["has something that is no text", (log: ReturnType<typeof testLog>) => log.write(7 as never)],
  ])("is cut off where it %s half-way", async (_what, fail) => {
    const log = testLog();
    const errors: string[] = [];
    const logger = { info: () => {}, error: (message: string) => errors.push(message) };
    const { url } = await serveDashboard({ registry: registryWith(log), logger });
    const { res, read } = await follow(`${url}${PATH}&follow=true`);
    log.write("tail\n");
    await expect.poll(read).toBe("tail\n");
    const closed = new Promise((resolve) => res.on("close", resolve));
    fail(log);
    await closed;
    // By the end of its last chunk, which is missing, it is not complete.
    expect(res.complete).toBe(false);
    expect(read()).toBe("tail\n");
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/secret|yields strings, got the number 7/);
  });

  it("is read at the client's pace", async () => {
    const log = testLog();
    const { server } = await serveDashboard({ registry: registryWith(log) });
    const chunk = "x".repeat(2 ** 20 - 1).concat("\n");
    const { port } = server.address() as AddressInfo;
    const client = createConnection(port, "127.0.0.1").pause();
    onTestFinished(() => void client.destroy());
    const [socket] = (await once(server, "connection")) as [Socket];
    client.write(`GET ${MOUNT}${PATH}&follow=true HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    // It takes as much as the kernel does, and one chunk more: the next is asked for when that has gone.
    for (let chunks = 0; chunks < 64; chunks++) log.write(chunk);
    log.write("END");
    await expect.poll(() => socket.writableLength).toBeGreaterThan(0);
    const asked = [0];
    const isStill = () => asked.unshift(log.state.asked) > 1 && asked[0] === asked[1];
    await expect.poll(isStill).toBe(true);
    expect(log.state.asked).toBeLessThan(64);
    expect(socket.writableLength).toBeLessThan(2 * chunk.length);

    let received = 0;
    client.on("data", (data) => (received += data.length)).resume();
    await once(client, "end");
    expect(received).toBeGreaterThan(64 * chunk.length);
    expect(log.state.asked).toBe(65);
  });

  it("is left at once by a client that leaves while it waits for room", async () => {
    const log = testLog();
    const { server } = await serveDashboard({ registry: registryWith(log) });
    const { port } = server.address() as AddressInfo;
    const client = createConnection(port, "127.0.0.1").pause();
    const [socket] = (await once(server, "connection")) as [Socket];
    client.write(`GET ${MOUNT}${PATH}&follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    for (let chunks = 0; chunks < 64; chunks++) log.write("x".repeat(2 ** 20));
    await expect.poll(() => socket.writableLength).toBeGreaterThan(0);
    client.destroy();
    await isLeft(server);
    await expect.poll(() => log.state).toMatchObject({ isAborted: true, isReturned: true });
  });
});

function fails(message: string): never {
  throw new Error(message);
}
