import { EventEmitter, once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { totalmem } from "node:os";
import { gzipSync } from "node:zlib";
import compression from "compression";
import express, { type Express, type Handler } from "express";
import helmet from "helmet";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import {
  BackendError,
  type BackendMonitorRouterOptions,
  bearerAuth,
  createBackendMonitorRouter,
  InMemoryModelRegistry,
  type LoadedModel,
  type ModelRegistry,
} from "../lib/index.js";
import { fails, frees, hasMemory, isOk, replies, serveBackend } from "./support/grpc.js";
import { json, type RequestOptions, type Send, serveHttp } from "./support/http.js";
import { freeze, isLinux, isRunning, kernelBytes, startScript } from "./support/processes.js";

const MONITOR = ["/backend/monitor", "/v1/backend/monitor"];
const SHUTDOWN = ["/backend/shutdown", "/v1/backend/shutdown"];

const fromBackend = { state: 2, memory: { total: 300, breakdown: { weights: 200, kv_cache: 100 } } };

/** What the registry was asked: an invalid request must not come this far. */
let looked: string[];
let stopped: { name: string; force: boolean }[];
let models: Map<string, LoadedModel>;

const registry: ModelRegistry = {
  get: (name) => {
    looked.push(name);
    return models.get(name);
  },
  list: () => [...models.values()],
  shutdown: (name, { force }) => {
    stopped.push({ name, force });
    models.delete(name);
  },
};

beforeEach(() => {
  looked = [];
  stopped = [];
  models = new Map();
});

/** Loads a model of each of these names, all served by one backend. */
async function load(...names: string[]) {
  const { address } = await serveBackend({ Status: hasMemory, Free: frees });
  for (const name of names) models.set(name, { name, address });
}

function monitorApp(options: Partial<BackendMonitorRouterOptions> = {}, ...before: Handler[]): Express {
  const app = express();
  if (before.length > 0) app.use(...before);
  app.use(createBackendMonitorRouter({ registry, ...options }));
  app.use((_req, res) => void res.status(404).send("the host's own 404"));
  return app;
}

const serve = (options?: Partial<BackendMonitorRouterOptions>, ...before: Handler[]): Promise<Send> =>
  serveHttp(monitorApp(options, ...before));

const query = (name: string) => `?model=${encodeURIComponent(name)}`;

function expectError(
  answer: { status: number; json: unknown },
  code: number,
  type: string,
  message: RegExp | string,
) {
  expect(answer.json).toEqual({
    error: { code, type, message: typeof message === "string" ? message : expect.stringMatching(message) },
  });
  expect(answer.status).toBe(code);
}

describe.each(MONITOR)("GET %s", (path) => {
  it("answers for the model in the query", async () => {
    await load("m");
    const send = await serve();
    const answer = await send(`${path}?model=m`);
    expect(answer.status).toBe(200);
    expect(answer.json).toEqual(fromBackend);
    expect(answer.headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(answer.headers.etag).toBeUndefined();
  });

  it("answers for the model in a JSON body", async () => {
    await load("m");
    const send = await serve();
    const answer = await send(path, json({ model: "m", more: [1] }, "GET"));
    expect(answer).toMatchObject({ status: 200, json: fromBackend });
  });

  it("takes the query where both name a model", async () => {
    await load("query", "body");
    const send = await serve();
    await send(`${path}?model=query`, json({ model: "body" }, "GET"));
    expect(looked).toEqual(["query"]);
  });

  it("answers HEAD as GET, without the body", async () => {
    await load("m");
    const send = await serve();
    const get = await send(`${path}?model=m`);
    const head = await send(`${path}?model=m`, { method: "HEAD" });
    expect(head).toMatchObject({ status: 200, text: "" });
    expect(head.headers["content-length"]).toBe(get.headers["content-length"]);
    expect(await send(path, { method: "HEAD" })).toMatchObject({ status: 400, text: "" });
  });

  it.each(["POST", "PUT", "PATCH", "DELETE"])("answers %s with 405", async (method) => {
    await load("m");
    const send = await serve();
    const answer = await send(`${path}?model=m`, { method });
    expectError(answer, 405, "invalid_request_error", `${method} is not for this path; send GET`);
    expect(answer.headers.allow).toBe("GET, HEAD");
    expect(looked).toEqual([]);
  });

  it.each([
    [
      "no model at all",
      "",
      /^the model is missing; send \?model=NAME, or \{"model": "NAME"\} as application\/json$/,
    ],
    ["an empty name", "?model=", /^the model's name is empty/],
    ["a control character", "?model=a%0Ab", /control characters, got the string "a\\nb"$/],
    ["a C1 control character", `?model=${encodeURIComponent("a\u0085b")}`, /control characters/],
    ["513 characters", `?model=${"x".repeat(513)}`, /longer than 512 characters/],
    ["the model twice", "?model=a&model=b", /"model" 2 times; send it once/],
    ["bytes that are not UTF-8", "?model=%ff", /not valid UTF-8/],
    ["only a member of a member", "?model[name]=m", /^the model is missing/],
    ["only a member that looks like it", "??model=m&?model=n", /^the model is missing/],
  ])("refuses %s", async (_what, search, message) => {
    const send = await serve();
    const answer = await send(`${path}${search}`);
    expectError(answer, 400, "invalid_request_error", message);
    expect(answer.headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(looked).toEqual([]);
  });

  it("takes a body that is not there for none", async () => {
    const send = await serve();
    const answer = await send(path, { headers: { "content-type": "application/json" } });
    expectError(answer, 400, "invalid_request_error", /^the model is missing/);
  });

  it("does not fall back to the body where the query is wrong", async () => {
    const send = await serve();
    expect((await send(`${path}?model=`, json({ model: "m" }, "GET"))).status).toBe(400);
    expect(looked).toEqual([]);
  });

  it("says that a model is not loaded", async () => {
    const send = await serve();
    expectError(await send(`${path}?model=nope`), 500, "model_not_loaded", 'model "nope" is not loaded');
  });
});

describe.each(SHUTDOWN)("POST %s", (path) => {
  it("stops the model", async () => {
    await load("m");
    const send = await serve();
    const answer = await send(path, json({ model: "m" }));
    expect(answer).toMatchObject({ status: 200, text: '{"message":"model stopped"}' });
    expect(answer.headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(stopped).toEqual([{ name: "m", force: false }]);
    expect(await send("/backend/monitor?model=m")).toMatchObject({
      status: 500,
      json: { error: { type: "model_not_loaded" } },
    });
    expectError(await send(path, json({ model: "m" })), 500, "model_not_loaded", 'model "m" is not loaded');
  });

  it("takes force", async () => {
    await load("m", "n");
    const send = await serve();
    expect((await send(path, json({ model: "m", force: true }))).status).toBe(200);
    expect((await send(path, json({ model: "n", force: false }))).status).toBe(200);
    expect(stopped).toEqual([
      { name: "m", force: true },
      { name: "n", force: false },
    ]);
  });

  it("does not take the model from the query", async () => {
    await load("m");
    const send = await serve();
    expectError(
      await send(`${path}?model=m`, { method: "POST" }),
      400,
      "invalid_request_error",
      /^the model is missing/,
    );
    expect(looked).toEqual([]);
  });

  it.each(["GET", "HEAD", "PUT", "DELETE"])("answers %s with 405", async (method) => {
    await load("m");
    const send = await serve();
    const answer = await send(`${path}?model=m`, { ...json({ model: "m" }), method });
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe("POST");
    expect(looked).toEqual([]);
  });

  it("says that a model is busy", async () => {
    const { address } = await serveBackend({ Status: replies({ state: 1 }) });
    models.set("m", { name: "m", address });
    const send = await serve({ drainTimeoutMs: 0 });
    expectError(
      await send(path, json({ model: "m" })),
      500,
      "model_busy",
      /^model "m" is still busy after 0 ms/,
    );
    expect(stopped).toEqual([]);
  });

  it("says that the process could not be stopped", async () => {
    const { address } = await serveBackend({ Status: hasMemory, Free: frees });
    const shutdown = () => {
      throw new BackendError("it would not go");
    };
    const app = express();
    app.use(
      createBackendMonitorRouter({ registry: { ...registry, get: (name) => ({ name, address }), shutdown } }),
    );
    const send = await serveHttp(app);
    expectError(await send(path, json({ model: "m" })), 500, "backend_error", "it would not go");
  });
});

/** What must be refused wherever a body is read, however it came to be read. */
const invalidBodies: [string, string, RegExp][] = [
  ["no name", "{}", /^the model is missing; send /],
  ["a number", '{"model": 42}', /^"model" must be a string, got the number 42$/],
  ["null", '{"model": null}', /^"model" must be a string, got null$/],
  ["a list", '{"model": ["m"]}', /^"model" must be a string, got an array$/],
  ["an object", '{"model": {"name": "m"}}', /^"model" must be a string, got an object$/],
  ["an empty name", '{"model": ""}', /^the model's name is empty/],
  ["a control character", '{"model": "a\\u0000b"}', /control characters, got the string "a\\u0000b"$/],
  ["DEL", '{"model": "a\\u007fb"}', /control characters/],
  ["a line feed at the end", '{"model": "m\\n"}', /control characters/],
  ["513 characters", JSON.stringify({ model: "x".repeat(513) }), /longer than 512 characters/],
  ["a body that is a list", '[{"model": "m"}]', /^got no model but an array; send /],
  ["the name only by the prototype", '{"__proto__": {"model": "m"}}', /^the model is missing/],
];
const brokenBodies: [string, string][] = [
  ["JSON that ends early", '{"model": "m"'],
  ["JSON with single quotes", "{'model': 'm'}"],
  ["something else", "model=m"],
];

describe.each([
  ["a bare app", [] as Handler[]],
  ["an app that runs express.json() itself", [express.json()]],
])("on %s", (_what, before) => {
  const serveIt = () => serve({}, ...before);

  it("refuses a body of more than 16 KiB", async () => {
    await load("m");
    const send = await serveIt();
    const body = '{"model": "m"}'.padEnd(16 * 1024 + 1, " ");
    const answer = await send("/backend/shutdown", { ...json({}), body });
    expectError(answer, 413, "invalid_request_error", "the body is larger than 16384 bytes");
    expect(looked).toEqual([]);
  });

  it.each(invalidBodies)("refuses %s in a body", async (_body, body, message) => {
    await load("m");
    const send = await serveIt();
    for (const [method, path] of [
      ["GET", MONITOR[0]],
      ["POST", SHUTDOWN[0]],
    ] as const) {
      const answer = await send(`${path}`, { method, headers: { "content-type": "application/json" }, body });
      expectError(answer, 400, "invalid_request_error", message);
    }
    expect(looked).toEqual([]);
    expect(stopped).toEqual([]);
  });

  it.each(["yes", 1, 0, "true", null, []])("refuses force: %j", async (force) => {
    await load("m");
    const send = await serveIt();
    const answer = await send("/backend/shutdown", json({ model: "m", force }));
    expectError(answer, 400, "invalid_request_error", /^"force" must be a boolean, got /);
    expect(looked).toEqual([]);
  });

  it.each([
    "text/plain",
    "text/plain; charset=application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/json",
    "application/jsonp",
  ])("does not read a body of type %s", async (type) => {
    await load("m");
    const send = await serveIt();
    for (const body of ['{"model": "m"}', "model=m", '{"model": "m", "x": "="}']) {
      const answer = await send("/backend/shutdown", {
        method: "POST",
        headers: { "content-type": type },
        body,
      });
      expectError(
        answer,
        400,
        "invalid_request_error",
        /^a body of type ".*" is not read; send it as application\/json$/,
      );
    }
    expect(looked).toEqual([]);
  });

  it("does not read a body that says nothing of its type", async () => {
    await load("m");
    const send = await serveIt();
    const answer = await send("/backend/shutdown", { method: "POST", body: '{"model": "m"}' });
    expectError(answer, 400, "invalid_request_error", /^the model is missing/);
  });

  it.each(["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"])(
    "reads %s",
    async (type) => {
      await load("m");
      const send = await serveIt();
      const answer = await send("/backend/shutdown", {
        method: "POST",
        headers: { "content-type": type },
        body: '{"model": "m"}',
      });
      expect(answer.status).toBe(200);
    },
  );

  it("reads UTF-16 and gzip", async () => {
    await load("模型");
    const send = await serveIt();
    const text = JSON.stringify({ model: "模型" });
    const utf16 = { "content-type": "application/json; charset=utf-16le" };
    const gzip = { "content-type": "application/json", "content-encoding": "gzip" };
    for (const [headers, body] of [
      [utf16, Buffer.from(text, "utf16le")],
      [gzip, gzipSync(text)],
    ] as const) {
      const answer = await send("/backend/monitor", { method: "GET", headers, body });
      expect(answer).toMatchObject({ status: 200, json: fromBackend });
    }
  });

  it.each([
    "m",
    " m ",
    "M",
    "a.gguf",
    "org/model:7b",
    "a b",
    "__proto__",
    "constructor",
    "模型",
    "🦙",
    "x".repeat(512),
    "🦙".repeat(512),
    "100%",
    "?m",
    "a+b",
    "a&model=b",
    "<script>",
  ])("takes the name %j exactly as it is, in query and body", async (name) => {
    await load(name);
    const send = await serveIt();
    const answers = [
      await send(`/backend/monitor${query(name)}`),
      await send("/backend/monitor", json({ model: name }, "GET")),
      await send("/backend/shutdown", json({ model: name })),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect([...new Set(looked)]).toEqual([name]);
    expect(stopped).toEqual([{ name, force: false }]);
  });
});

describe("a body that can't be read", () => {
  const post = (headers: Record<string, string>, body: string | Buffer): RequestOptions => ({
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });

  it.each(brokenBodies)("is 400 where it is %s", async (_what, body) => {
    const send = await serve();
    expectError(
      await send("/backend/shutdown", post({}, body)),
      400,
      "invalid_request_error",
      'the body is not valid JSON; send {"model": "NAME"}',
    );
  });

  it.each([
    ['"m"', 'the string "m"'],
    ["42", "the number 42"],
    ["null", "null"],
  ])("is 400 where it is JSON, but names nothing: %s", async (body, got) => {
    const send = await serve();
    const message = `got no model but ${got}; send {"model": "NAME"} as application/json`;
    expectError(await send("/backend/shutdown", post({}, body)), 400, "invalid_request_error", message);
  });

  it("is 413 over 16 KiB, and read up to them", async () => {
    await load("m");
    const send = await serve();
    const body = (size: number) => '{"model": "m"}'.padEnd(size, " ");
    expect((await send("/backend/shutdown", post({}, body(16 * 1024)))).status).toBe(200);
    for (const size of [16 * 1024 + 1, 10_000_000]) {
      const answer = await send("/backend/shutdown", post({}, body(size)));
      expectError(answer, 413, "invalid_request_error", "the body is larger than 16384 bytes");
    }
    const bomb = gzipSync(body(10_000_000));
    expect(bomb.length).toBeLessThan(16 * 1024);
    expect((await send("/backend/shutdown", post({ "content-encoding": "gzip" }, bomb))).status).toBe(413);
    expect(stopped).toHaveLength(1);
  });

  it.each(["utf-8", "UTF-8", "utf-8-", "utf-8:1999"])("is 400 where it is not valid %s", async (charset) => {
    const send = await serve();
    const headers = { "content-type": `application/json; charset="${charset}"` };
    const answer = await send(
      "/backend/shutdown",
      post(headers, Buffer.from('{"model": "m\xff"}', "latin1")),
    );
    expectError(answer, 400, "invalid_request_error", "the body is not valid UTF-8");
  });

  it("is 415 in a charset or coding that is not supported", async () => {
    const send = await serve();
    const charset = post({ "content-type": "application/json; charset=ebcdic" }, "{}");
    expectError(
      await send("/backend/shutdown", charset),
      415,
      "invalid_request_error",
      /^charset "EBCDIC" is not read/i,
    );
    const coding = post({ "content-encoding": "rot13" }, "{}");
    expectError(
      await send("/backend/shutdown", coding),
      415,
      "invalid_request_error",
      /^content coding "rot13" is not/,
    );
  });

  it("is 400 where it is not the gzip that it says it is", async () => {
    const send = await serve();
    const answer = await send("/backend/shutdown", post({ "content-encoding": "gzip" }, "{}"));
    expectError(answer, 400, "invalid_request_error", "the body can't be read");
  });

  it("is nothing to crash over where the client hangs up in the middle", async () => {
    await load("m");
    const errors: unknown[] = [];
    const app = monitorApp();
    const server = app.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const unhandled = (error: unknown) => void errors.push(error);
    process.on("unhandledRejection", unhandled);
    onTestFinished(() => void process.off("unhandledRejection", unhandled));
    const socket = connect(port, "127.0.0.1");
    const request = once(server, "request");
    socket.write(
      "POST /backend/shutdown HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    );
    const [, res] = await request;
    const closed = once(res, "close");
    socket.destroy();
    await closed;
    expect(
      (await (await fetch(`http://127.0.0.1:${port}/backend/monitor?model=m`)).json()) as object,
    ).toEqual(fromBackend);
    expect(errors).toEqual([]);
    expect(stopped).toEqual([]);
  });
});

describe("the host app", () => {
  it("is left every other path, method and body", async () => {
    const send = await serve();
    for (const path of [
      "/",
      "/backend",
      "/backend/monitor/",
      "/Backend/Monitor",
      "/v2/backend/monitor",
      "/backend/monitor/x",
    ]) {
      expect(await send(`${path}?model=m`)).toMatchObject({ status: 404, text: "the host's own 404" });
    }
    expect(looked).toEqual([]);
  });

  it("answers OPTIONS itself", async () => {
    const cors: Handler = (req, res, next) =>
      req.method === "OPTIONS" ? void res.status(204).end() : next();
    const guarded = { authorize: bearerAuth(["t"]) };
    const app = express();
    app.use(createBackendMonitorRouter({ registry, ...guarded }));
    app.use(cors);
    const send = await serveHttp(app);
    for (const path of [...MONITOR, ...SHUTDOWN]) {
      expect(await send(path, { method: "OPTIONS" })).toMatchObject({ status: 204 });
    }
  });

  it("may mount the router under a prefix, behind helmet and compression", async () => {
    const { address } = await serveBackend({
      Status: replies({
        state: 2,
        memory: {
          total: 1,
          breakdown: Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`part ${i}`, i])),
        },
      }),
    });
    models.set("m", { name: "m", address });
    const app = express();
    app.use(helmet(), compression());
    app.use("/admin/ai", createBackendMonitorRouter({ registry }));
    const send = await serveHttp(app);
    const plain = await send("/admin/ai/v1/backend/monitor?model=m");
    expect(Object.keys(plain.json.memory.breakdown)).toHaveLength(200);
    expect(plain.headers["x-content-type-options"]).toBe("nosniff");
    const zipped = await send("/admin/ai/backend/monitor?model=m", {
      headers: { "accept-encoding": "gzip" },
    });
    expect(zipped.headers).toMatchObject({
      "content-encoding": "gzip",
      "content-type": "application/json; charset=utf-8",
    });
    expect((await send("/backend/monitor?model=m")).status).toBe(404);
  });

  it("may set how Express parses queries, or that it does not", async () => {
    await load("m");
    for (const parser of ["simple", "extended", false]) {
      const app = express();
      app.set("query parser", parser);
      app.use(createBackendMonitorRouter({ registry }));
      const send = await serveHttp(app);
      expect(await send("/backend/monitor?a=b&model=m")).toMatchObject({ status: 200, json: fromBackend });
      expect(await send("/backend/monitor?model=m&model=n")).toMatchObject({ status: 400 });
    }
  });

  it("may have read a form before: that is no JSON", async () => {
    await load("m");
    const send = await serve({}, express.urlencoded({ extended: true }), express.text({ type: "*/*" }));
    const form = {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: "model=m",
    };
    expect(await send("/backend/shutdown", form)).toMatchObject({ status: 400 });
    const text = { method: "POST", headers: { "content-type": "text/plain" }, body: '{"model":"m"}' };
    expect(await send("/backend/shutdown", text)).toMatchObject({ status: 400 });
    const lenient = await serve({}, express.json({ type: "*/*" }));
    expect(await lenient("/backend/shutdown", text)).toMatchObject({ status: 400 });
    expect(looked).toEqual([]);
  });

  it("may have read the body as bytes", async () => {
    await load("m");
    const send = await serve({}, express.raw({ type: "*/*" }));
    const broken = { ...json({}), body: "{" };
    expectError(
      await send("/backend/shutdown", broken),
      400,
      "invalid_request_error",
      /^the body is not valid JSON/,
    );
    expect(await send("/backend/shutdown", json({ model: "m" }))).toMatchObject({ status: 200 });
  });

  it("may have read the body by another parser than Express' own", async () => {
    await load("m");
    const byHand: Handler = (req, _res, next) => {
      const chunks: Buffer[] = [];
      req.on("data", (chunk) => chunks.push(chunk));
      req.on("end", () => {
        req.body = JSON.parse(Buffer.concat(chunks).toString());
        next();
      });
    };
    const send = await serve({}, byHand);
    expect(await send("/backend/shutdown", json({ model: "m" }))).toMatchObject({ status: 200 });
  });

  it("never sees an error of the router", async () => {
    const { address } = await serveBackend({ Status: fails(13, "boom") });
    models.set("failing", { name: "failing", address });
    const seen: unknown[] = [];
    const app = monitorApp();
    app.use(((error, _req, res, _next) => {
      seen.push(error);
      res.status(599).end();
    }) as express.ErrorRequestHandler);
    const send = await serveHttp(app);
    const answers = [
      await send("/backend/monitor"),
      await send("/backend/monitor?model=failing"),
      await send("/backend/monitor?model=none"),
      await send("/backend/shutdown", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: "{",
      }),
      await send("/backend/shutdown"),
    ];
    expect(answers.map(({ status }) => status)).toEqual([400, 500, 500, 400, 405]);
    expect(seen).toEqual([]);
  });
});

describe("what is answered", () => {
  it("is one message with both causes where neither the backend nor the system answers", async () => {
    const { address } = await serveBackend({ Status: fails(13, "boom") });
    models.set("m", { name: "m", address });
    const send = await serve();
    const message = `model "m": its backend's Status call failed (INTERNAL: boom), and its process can't be sampled (no process of it can be seen on this machine)`;
    expectError(await send("/backend/monitor?model=m"), 500, "backend_error", message);
  });

  it.skipIf(!isLinux)("is what the system knows of a backend without Status", async () => {
    const { address } = await serveBackend({ Health: isOk });
    const { pid } = await startScript("stubborn.mjs");
    await freeze(pid);
    models.set("m", { name: "m", address, pid });
    const send = await serve();
    const { status, json: answer } = await send("/backend/monitor?model=m");
    const rss = kernelBytes(pid, "VmRSS");
    expect(status).toBe(200);
    expect(answer).toEqual({
      state: 2,
      memory: {
        total: rss,
        breakdown: {
          anonymous: kernelBytes(pid, "RssAnon"),
          file: kernelBytes(pid, "RssFile"),
          shared: kernelBytes(pid, "RssShmem"),
        },
      },
      memory_info: { rss, vms: kernelBytes(pid, "VmSize") },
      memory_percent: (100 * rss) / totalmem(),
      cpu_percent: expect.any(Number),
      status_error: { code: "UNIMPLEMENTED", message: "Method not implemented!" },
    });
    expect(Object.keys(answer)).toEqual([
      "state",
      "memory",
      "memory_info",
      "memory_percent",
      "cpu_percent",
      "status_error",
    ]);
  });

  it("is every digit of a uint64, and every key", async () => {
    const { address } = await serveBackend({
      Status: replies({
        state: 0,
        memory: {
          total: "18446744073709551615",
          breakdown: { 'a "quoted" key': "9007199254740993", "": "0" },
        },
      }),
    });
    models.set("m", { name: "m", address });
    const send = await serve();
    const { text } = await send("/backend/monitor?model=m");
    expect(text).toBe(
      '{"state":0,"memory":{"total":18446744073709551615,"breakdown":{"a \\"quoted\\" key":9007199254740993,"":0}}}',
    );
  });

  it("is not cached by a client that asks whether it changed", async () => {
    await load("m");
    const send = await serve();
    const answer = await send("/backend/monitor?model=m", { headers: { "if-none-match": "*" } });
    expect(answer.status).toBe(200);
  });

  it("names a model in an error, but nothing that could be taken for something else", async () => {
    const send = await serve();
    const name = '"><script>alert(1)</script>\u202e\u2028';
    const { json: body, text } = await send(`/backend/monitor${query(name)}`);
    expect(body.error.message).toBe(
      'model "\\"\\u003e\\u003cscript\\u003ealert(1)\\u003c/script\\u003e\\u202e\\u2028" is not loaded',
    );
    expect(text).not.toMatch(/[<>\u202e\u2028]/);
    expect((await send(`/backend/monitor?model=${"y".repeat(512)}`)).json.error.message).toBe(
      `model "${"y".repeat(100)}…" is not loaded`,
    );
  });
});

describe("logger", () => {
  it("is told of what the client is not", async () => {
    const cause = new Error("the database at /var/lib/secret is down");
    const lines: string[] = [];
    const app = express();
    const failing = { ...registry, get: () => Promise.reject(cause) };
    const logger = { info: () => {}, error: (line: string) => lines.push(line) };
    app.use(createBackendMonitorRouter({ registry: failing, logger }));
    const send = await serveHttp(app);
    const answer = await send("/backend/monitor?model=m");
    expectError(
      answer,
      500,
      "internal_error",
      `the registry failed to look up model "m"; the server's logger is told why`,
    );
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("the database at /var/lib/secret is down");
    expect(lines[0]).toContain("router.test.ts");
  });

  it("is not told of what is the client's own mistake", async () => {
    const lines: string[] = [];
    const send = await serve({ logger: { info: () => {}, error: (line) => lines.push(line) } });
    await send("/backend/monitor");
    await send("/backend/monitor?model=none");
    expect(lines).toEqual([]);
  });

  it("may fail, and may be left out", async () => {
    const failing = { ...registry, get: () => Promise.reject(new Error("no")) };
    const fail = () => {
      throw new Error("disk full");
    };
    const broken = { info: fail, error: fail };
    const rejecting = { info: async () => fail(), error: async () => fail() };
    for (const logger of [broken, rejecting, undefined]) {
      const app = express();
      app.use(createBackendMonitorRouter({ registry: failing, logger }));
      const send = await serveHttp(app);
      expect((await send("/backend/monitor?model=m")).status).toBe(500);
      expect((await send("/backend/shutdown", json({ model: "m" }))).status).toBe(500);
    }
  });
});

describe("authorize", () => {
  it("runs before the four routes, whatever the method, and before no others", async () => {
    await load("m");
    const seen: string[] = [];
    const guard: Handler = (req, res) => {
      seen.push(`${req.method} ${req.path}`);
      res.status(403).json({ no: "entry" });
    };
    const send = await serve({ authorize: guard });
    for (const path of [...MONITOR, ...SHUTDOWN]) {
      expect(await send(`${path}?model=m`, json({ model: "m" }))).toMatchObject({
        status: 403,
        json: { no: "entry" },
      });
    }
    expect(await send("/other")).toMatchObject({ status: 404 });
    expect(seen).toEqual([...MONITOR, ...SHUTDOWN].map((path) => `POST ${path}`));
    expect(looked).toEqual([]);
  });

  it("takes several handlers, and runs them in turn", async () => {
    await load("m");
    const seen: number[] = [];
    const guard =
      (number: number): Handler =>
      (_req, _res, next) => {
        seen.push(number);
        next();
      };
    const send = await serve({ authorize: [guard(1), guard(2)] });
    expect((await send("/backend/monitor?model=m")).status).toBe(200);
    expect(seen).toEqual([1, 2]);
  });

  it.each([
    ["calls next with an error", (_req, _res, next) => next(new Error("guard"))],
    [
      "throws",
      () => {
        throw new Error("guard");
      },
    ],
    [
      "rejects",
      async () => {
        throw new Error("guard");
      },
    ],
  ] as [string, Handler][])(
    "keeps the route shut where a guard %s: the error is the host's",
    async (_how, guard) => {
      await load("m");
      const app = monitorApp({ authorize: guard });
      app.use(
        ((error, _req, res, _next) =>
          void res.status(599).send(error.message)) as express.ErrorRequestHandler,
      );
      const send = await serveHttp(app);
      expect(await send("/backend/monitor?model=m")).toMatchObject({ status: 599, text: "guard" });
      expect(looked).toEqual([]);
    },
  );

  it("keeps the route shut where a guard skips the rest of it", async () => {
    const send = await serve({ authorize: (_req, _res, next) => next("route") });
    expect((await send("/backend/monitor?model=m")).status).toBe(404);
    expect(looked).toEqual([]);
  });
});

describe.skipIf(!isLinux)("a client that hangs up in the middle of a shutdown", () => {
  it("changes nothing about it", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const calls = new EventEmitter();
    let free = () => {};
    const { address } = await serveBackend({
      Free: (call, reply) => {
        free = () => frees(call, reply);
        calls.emit("free");
      },
    });
    const loaded = new InMemoryModelRegistry();
    loaded.register({ name: "m", address, pid });
    const app = express();
    app.use(createBackendMonitorRouter({ registry: loaded, terminateTimeoutMs: 100 }));
    const server = app.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;

    const [freeing, arrived] = [once(calls, "free"), once(server, "request")];
    const client = connect(port, "127.0.0.1");
    const body = '{"model":"m"}';
    client.write(
      `POST /backend/shutdown HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const [, res] = await arrived;
    await freeing;
    const closed = once(res, "close");
    client.destroy();
    await closed;
    expect(isRunning(pid)).toBe(true);
    free();
    await expect.poll(() => loaded.list(), { timeout: 5000 }).toEqual([]);
    expect(isRunning(pid)).toBe(false);
  });
});

describe("options", () => {
  it("takes undefined for what is left out", () => {
    const none = {
      createClient: undefined,
      authorize: undefined,
      logger: undefined,
      statusTimeoutMs: undefined,
    };
    expect(() => createBackendMonitorRouter({ registry, ...none })).not.toThrow();
  });
});
