import { once } from "node:events";
import { connect } from "node:net";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import express, { type Handler } from "express";
import { describe, expect, it } from "vitest";
import { createBackendMonitorRouter, type ModelRegistry } from "../../lib/index.js";
import { json, type RequestOptions, type Send, serveHttp } from "../support/http.js";

/** An app with a registry that has every model, and notes which were asked for and which were stopped, and how. */
async function serve(...before: Handler[]) {
  const looked: string[] = [];
  const stopped: string[] = [];
  const registry: ModelRegistry = {
    get: (name) => {
      looked.push(name);
      return stopped.some((line) => line.startsWith(name)) ? undefined : { name, address: "127.0.0.1:1" };
    },
    list: () => [],
    shutdown: (name, { force }) => void stopped.push(force ? `${name} by force` : name),
  };
  const app = express();
  if (before.length > 0) app.use(...before);
  app.use(createBackendMonitorRouter({ registry, freeTimeoutMs: 0 }));
  let url = "";
  const send: Send = await serveHttp((req, res) => {
    url = `http://127.0.0.1:${req.socket.localPort}`;
    app(req, res);
  });
  await send("/");
  return { looked, stopped, send, port: Number(new URL(url).port) };
}

const raw = (body: string | Buffer, headers: Record<string, string> = {}): RequestOptions => ({
  ...json({}),
  headers: { "content-type": "application/json", ...headers },
  body,
});

const MAX_BYTES = 16 * 1024;

/** As deep as a body can be: brackets, and what is needed around them. */
const deep = (open: string, close: string, around: (nested: string) => string) => {
  const depth = Math.floor((MAX_BYTES - around("0").length) / (open.length + close.length));
  return around(`${open.repeat(depth)}0${close.repeat(depth)}`);
};

describe.each([
  ["a bare app", [] as Handler[]],
  ["an app that runs express.json() itself", [express.json()]],
])("on %s", (_app, before) => {
  it.each([
    ["arrays", "[", "]"],
    ["objects", '{"a":', "}"],
  ])("%s in one another are no name, and no matter beside one", async (_what, open, close) => {
    const { send, looked, stopped } = await serve(...before);
    const asName = await send("/backend/shutdown", raw(deep(open, close, (nested) => `{"model":${nested}}`)));
    expect(asName).toMatchObject({ status: 400 });
    expect(asName.json.error.message).toMatch(/^"model" must be a string, got an (array|object)$/);
    const asForce = deep(open, close, (nested) => `{"model":"m","force":${nested}}`);
    expect((await send("/backend/shutdown", raw(asForce))).status).toBe(400);
    expect(looked).toEqual([]);

    const beside = deep(open, close, (nested) => `{"x":${nested},"model":"m"}`);
    expect((await send("/backend/shutdown", raw(beside))).status).toBe(200);
    expect(stopped).toEqual(["m"]);
  });

  it("has no members but those that are written", async () => {
    const { send, looked, stopped } = await serve(...before);
    const wanted = '{"model":"m","force":true,"polluted":true}';
    for (const body of [
      `{"__proto__":${wanted}}`,
      `{"constructor":{"prototype":${wanted}}}`,
      `{"\\u005f_proto__":${wanted}}`,
      `{"prototype":${wanted}}`,
    ]) {
      expect((await send("/backend/shutdown", raw(body))).json.error.message).toMatch(
        /^the model is missing/,
      );
    }
    expect(looked).toEqual([]);
    const beside = '{"__proto__":{"force":true},"constructor":1,"toString":2,"hasOwnProperty":3,"model":"m"}';
    expect((await send("/backend/shutdown", raw(beside))).status).toBe(200);
    expect(stopped).toEqual(["m"]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it("has the last of two members, for what is asked for and for what is done", async () => {
    const { send, looked, stopped } = await serve(...before);
    const twice = '{"model":"first","force":true,"model":"last","\\u0066orce":false}';
    expect((await send("/backend/shutdown", raw(twice))).status).toBe(200);
    expect([...new Set(looked)]).toEqual(["last"]);
    expect(stopped).toEqual(["last"]);
    expect((await send("/backend/shutdown", raw('{"model":"m","model":null}'))).status).toBe(400);
  });

  it("has at most 16 KiB once it is unpacked, however small it came", async () => {
    const { send, looked } = await serve(...before);
    // Express' parser, where the app runs it, has a limit of its own: of 100 KiB.
    for (const size of before.length > 0 ? [1_000_000] : [MAX_BYTES + 1, 1_000_000]) {
      const body = '{"model":"m"}'.padEnd(size);
      for (const [coding, packed] of [
        ["gzip", gzipSync(body)],
        ["deflate", deflateSync(body)],
        ["br", brotliCompressSync(body)],
      ] as const) {
        expect(packed.length).toBeLessThan(2_000);
        const answer = await send("/backend/shutdown", raw(packed, { "content-encoding": coding }));
        expect([coding, size, answer.status]).toEqual([coding, size, 413]);
      }
    }
    expect(looked).toEqual([]);
  });
});

describe("before the router is asked", () => {
  it("Node refuses a URL or a header of more than 16 KiB", async () => {
    const { send, looked } = await serve();
    const long = "x".repeat(MAX_BYTES);
    expect((await send(`/backend/monitor?model=m&x=${long}`)).status).toBe(431);
    expect((await send("/backend/monitor?model=m", { headers: { "x-long": long } })).status).toBe(431);
    const many = Object.fromEntries(
      Array.from({ length: 100 }, (_, index) => [`x-${index}`, "x".repeat(200)]),
    );
    expect((await send("/backend/monitor?model=m", { headers: many })).status).toBe(431);
    expect(looked).toEqual([]);
  });

  it("Node closes a connection whose request is not one", async () => {
    const { port, looked } = await serve();
    const socket = connect(port, "127.0.0.1").setEncoding("latin1");
    socket.write("GET /backend/monitor?model=m HTTP/1.1\r\nHost: x\r\nX: a\u0000b\r\n\r\n");
    const closed = once(socket, "close");
    const [answer] = await once(socket, "data");
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    await closed;
    expect(looked).toEqual([]);
  });
});
