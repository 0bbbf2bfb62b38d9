import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { text } from "node:stream/consumers";
import express, { type Handler } from "express";
import { describe, expect, it, onTestFinished } from "vitest";
import { type BackendMonitorRouterOptions, createBackendMonitorRouter } from "../lib/index.js";

const ROUTES = [
  "GET /backend/monitor",
  "GET /v1/backend/monitor",
  "POST /backend/shutdown",
  "POST /v1/backend/shutdown",
];

/**
 * Serves the router to requests whose head is written by hand, as there is no other way to send two Host headers, or none.
 * `looked` is what the registry was asked for, and `guarded` what came as far as the guard.
 */
async function serve(options: Partial<BackendMonitorRouterOptions>) {
  const looked: string[] = [];
  const guarded: string[] = [];
  const registry = {
    get: (name: string) => void looked.push(name),
    list: () => [],
    shutdown: () => {},
  };
  const guard: Handler = (req, _res, next) => {
    guarded.push(`${req.headers.host}`);
    next();
  };
  const app = express();
  app.use(createBackendMonitorRouter({ registry, authorize: guard, ...options }));
  app.use((_req, res) => void res.status(404).send("the host's own 404"));
  const server = createServer({ requireHostHeader: false }, app).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;

  const send = async (request: string, ...headers: string[]) => {
    const socket = connect(port, "127.0.0.1");
    const body = request.startsWith("POST") ? '{"model":"m"}' : "";
    const json = body && ["Content-Type: application/json", `Content-Length: ${body.length}`];
    socket.write([`${request} HTTP/1.1`, "Connection: close", ...headers, ...json, "", body].join("\r\n"));
    const answer = await text(socket);
    const [head = "", content = ""] = answer.split(/\r\n\r\n(.*)/s);
    return {
      status: Number(head.split(" ")[1]),
      head,
      json: content.startsWith("{") ? JSON.parse(content) : undefined,
    };
  };
  const call = (host: string) => send("GET /backend/monitor?model=m", `Host: ${host}`);
  return { looked, guarded, send, call };
}

const forbidden = (got: string) => ({
  error: {
    code: 403,
    type: "invalid_request_error",
    message:
      `the request's Host header is not one that this server answers to, got ${got}; ` +
      "call it by a name that its option allowedHosts has, or add this one there",
  },
});

describe("allowedHosts", () => {
  it.each<[entry: string, ...hosts: string[]]>([
    ["localhost", "localhost", "localhost:8080", "LOCALHOST:1", "localhost.", "localhost.:8080"],
    ["LocalHost.", "localhost", "localhost.:80"],
    ["localhost:8080", "localhost:8080", "Localhost:8080", "localhost.:8080"],
    ["127.0.0.1", "127.0.0.1", "127.0.0.1:8080"],
    ["127.0.0.1:8080", "127.0.0.1:8080"],
    ["[::1]", "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]"],
    ["[0::1]:8080", "[::1]:8080"],
    ["[FE80::A]", "[fe80::a]:1"],
    ["monitor.example.com", "monitor.example.com", "MONITOR.example.COM:443", "monitor.example.com.:443"],
    // A browser leaves out the port that its scheme has.
    ["monitor.example.com:443", "monitor.example.com", "monitor.example.com:443"],
    ["monitor.example.com:80", "monitor.example.com", "monitor.example.com:80"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["my_box-2", "my_box-2:8080"],
  ])("with %j lets pass %j", async (entry, ...hosts) => {
    const { call, looked } = await serve({ allowedHosts: [entry] });
    for (const host of hosts) {
      expect([host, (await call(host)).json.error.type]).toEqual([host, "model_not_loaded"]);
    }
    expect(looked).toEqual(hosts.map(() => "m"));
  });

  it.each<[entry: string, ...hosts: string[]]>([
    ["localhost", "evil.example", "localhost.evil.example", "evil.localhost", "localhos", "localhost..", ""],
    ["localhost", "localhost@evil.example", "evil.example#localhost", "localhost/", "localhost,localhost"],
    ["localhost", "http://localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:80:80"],
    [
      "localhost",
      "local host",
      "localhost%2e",
      "*",
      "[localhost]",
      "127.0.0.1",
      "[::1]",
      ":8080",
      "löcalhost",
    ],
    ["localhost:8080", "localhost:8081", "localhost", "localhost:80"],
    ["monitor.example.com:443", "monitor.example.com:80", "example.com", "x.monitor.example.com"],
    ["127.0.0.1", "127.0.0.2", "127.0.0.1.evil.example", "127.0.0.256"],
    ["[::1]", "::1", "[::2]", "[::1", "[::1]x", "[::1%25lo]"],
  ])("with %j refuses %j", async (entry, ...hosts) => {
    const { call, looked, guarded } = await serve({ allowedHosts: [entry] });
    for (const host of hosts) {
      const answer = await call(host);
      expect([host, answer.status]).toEqual([host, 403]);
      expect(answer.json).toMatchObject({ error: { code: 403, type: "invalid_request_error" } });
    }
    expect(looked).toEqual([]);
    expect(guarded).toEqual([]);
  });

  it("lets pass any one on the list, and no more than that", async () => {
    const { call, looked } = await serve({ allowedHosts: ["localhost", "127.0.0.1:8080"] });
    const hosts = ["localhost:5", "127.0.0.1:8080", "127.0.0.1:5", "other"];
    const statuses = [];
    for (const host of hosts) statuses.push((await call(host)).status);
    expect(statuses).toEqual([500, 500, 403, 403]);
    expect(looked).toHaveLength(2);
  });

  it.each(ROUTES)(
    "names what it got and what to do at %s, before the guard and the registry",
    async (route) => {
      const { send, looked, guarded } = await serve({ allowedHosts: ["localhost"] });
      const answer = await send(`${route}?model=m`, "Host: evil.example:8080");
      expect(answer.status).toBe(403);
      expect(answer.json).toEqual(forbidden('"evil.example:8080"'));
      expect(answer.head).toMatch(/^Content-Type: application\/json; charset=utf-8\r$/m);
      expect(answer.head).toMatch(/^Cache-Control: no-store\r$/m);
      expect(looked).toEqual([]);
      expect(guarded).toEqual([]);
    },
  );

  it("refuses a request with no Host, and one with two", async () => {
    const { send, looked } = await serve({ allowedHosts: ["localhost"] });
    const monitor = "GET /backend/monitor?model=m";
    expect((await send(monitor)).json).toEqual(forbidden("none"));
    for (const second of ["localhost", "evil.example"]) {
      const answer = await send(monitor, "Host: localhost", `hOST: ${second}`);
      expect(answer.json).toEqual(forbidden("two of them"));
    }
    expect(looked).toEqual([]);
  });

  it("shows what it got escaped, and cut", async () => {
    const { call } = await serve({ allowedHosts: ["localhost"] });
    expect((await call('<b>"\u00e9\u0085')).json).toEqual(forbidden('"\\u003cb\\u003e\\"Ã©Â\\u0085"'));
    expect((await call("x".repeat(200))).json).toEqual(forbidden(`"${"x".repeat(100)}…"`));
  });

  it("takes no notice of what a proxy or a client says beside it", async () => {
    const { send } = await serve({ allowedHosts: ["localhost"] });
    const monitor = "GET /backend/monitor?model=m";
    const others = (host: string) => [
      `X-Forwarded-Host: ${host}`,
      `Forwarded: host=${host}`,
      `X-Host: ${host}`,
    ];
    expect((await send(monitor, "Host: evil.example", ...others("localhost"))).status).toBe(403);
    expect((await send(monitor, "Host: localhost", ...others("evil.example"))).status).toBe(500);
  });

  it("refuses other methods too, but OPTIONS and all other paths are the host's", async () => {
    const { send } = await serve({ allowedHosts: ["localhost"] });
    expect((await send("DELETE /backend/monitor", "Host: evil.example")).status).toBe(403);
    expect((await send("DELETE /backend/monitor", "Host: localhost")).status).toBe(405);
    expect((await send("HEAD /backend/monitor?model=m", "Host: evil.example")).status).toBe(403);
    for (const request of ["OPTIONS /backend/shutdown", "GET /", "GET /backend/monitor/", "POST /backend"]) {
      expect((await send(request, "Host: evil.example")).status).toBe(404);
    }
  });

  it("lets pass any host, two of them, and none, where it is left out", async () => {
    const { send, call } = await serve({ allowedHosts: undefined });
    const monitor = "GET /backend/monitor?model=m";
    expect((await call("evil.example")).status).toBe(500);
    expect((await send(monitor, "Host: a", "Host: b")).status).toBe(500);
    expect((await send(monitor)).status).toBe(500);
  });

  it.each<[value: unknown, got: string]>([
    ["localhost", 'the string "localhost"'],
    [null, "null"],
    [{}, "an object"],
    [[], "an empty array"],
    [["localhost", "http://localhost:8080"], 'an array with the string "http://localhost:8080" at index 1'],
    [["localhost/backend"], 'an array with the string "localhost/backend" at index 0'],
    [[""], 'an array with the string "" at index 0'],
    [["user@localhost"], 'an array with the string "user@localhost" at index 0'],
    [["::1"], 'an array with the string "::1" at index 0'],
    [["fe80::1"], 'an array with the string "fe80::1" at index 0'],
    [["[::1"], 'an array with the string "[::1" at index 0'],
    [["[:::1]"], 'an array with the string "[:::1]" at index 0'],
    [["*"], 'an array with the string "*" at index 0'],
    [["*.example.com"], 'an array with the string "*.example.com" at index 0'],
    [[".example.com"], 'an array with the string ".example.com" at index 0'],
    [["a..b"], 'an array with the string "a..b" at index 0'],
    [["."], 'an array with the string "." at index 0'],
    [["localhost:"], 'an array with the string "localhost:" at index 0'],
    [["localhost:http"], 'an array with the string "localhost:http" at index 0'],
    [["localhost:0"], 'an array with the string "localhost:0" at index 0'],
    [["localhost:65536"], 'an array with the string "localhost:65536" at index 0'],
    [["localhost "], 'an array with the string "localhost " at index 0'],
    [["localhost\n"], 'an array with the string "localhost\\n" at index 0'],
    [["bücher.example"], 'an array with the string "bücher.example" at index 0'],
    [["256.0.0.1"], 'an array with the string "256.0.0.1" at index 0'],
    [[8080], "an array with the number 8080 at index 0"],
    [[undefined], "an array with undefined at index 0"],
    [[["localhost"]], "an array with an array at index 0"],
  ])("is not %j", (value, got) => {
    const registry = { get: () => undefined, list: () => [], shutdown: () => {} };
    const create = () => createBackendMonitorRouter({ registry, allowedHosts: value as string[] });
    expect(create).toThrow(
      new TypeError(
        'createBackendMonitorRouter: option "allowedHosts" takes an array of at least one: a host name or an ' +
          `address, with or without a port ("localhost", "127.0.0.1:8080", "[::1]"), got ${got}`,
      ),
    );
  });
});
