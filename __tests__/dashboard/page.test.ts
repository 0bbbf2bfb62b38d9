// The page is built: it is the built package that serves it here.
import { readdirSync, readFileSync } from "node:fs";
import { get } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { text } from "node:stream/consumers";
import compression from "compression";
import express, { type Express, type Handler } from "express";
import { BackendMonitor, InMemoryModelRegistry } from "express-backend-monitor";
import { createDashboardRouter } from "express-backend-monitor/dashboard";
import helmet from "helmet";
import { describe, expect, it } from "vitest";
import { serveApp } from "../support/dashboard.js";
import { serveHttp } from "../support/http.js";

const FOLDER = new URL("../../dist/dashboard/page/", import.meta.url);
const files = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map(({ name }) => name);
const read = (name: string) => readFileSync(new URL(name, FOLDER), "utf8");

const dashboard = () =>
  createDashboardRouter({ monitor: new BackendMonitor({ registry: new InMemoryModelRegistry() }) });

function app(path: string, ...before: Handler[]): Express {
  const host = express();
  if (before.length > 0) host.use(...before);
  host.use(path, dashboard());
  host.use((_req, res) => void res.status(404).send("the host's own 404"));
  return host;
}

const serve = (...before: Handler[]) => serveHttp(app("/admin/backends", ...before));

/** Sends the first line of a request as it stands: a client would put its path right. */
async function sendRaw(line: string): Promise<string> {
  const { server } = await serveApp(app("/admin/backends"));
  const { port } = server.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1");
  socket.end(`${line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  return text(socket);
}

function expectSafe(headers: Record<string, unknown>) {
  expect(headers["content-security-policy"]).toMatch(
    /^default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'( data:)?; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'$/,
  );
  expect(headers).toMatchObject({
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
  });
}

describe("the page", () => {
  it.each<[what: string, before: Handler[]]>([
    ["alone", []],
    [
      "after a helmet that would let anybody in",
      [
        helmet({
          contentSecurityPolicy: { directives: { "script-src": ["*", "'unsafe-inline'"] } },
          crossOriginResourcePolicy: { policy: "cross-origin" },
          referrerPolicy: { policy: "unsafe-url" },
        }),
      ],
    ],
    ["after compression", [compression({ threshold: 0 })]],
  ])("is there with all of its files, each with strict headers: %s", async (_what, before) => {
    const send = await serve(...before);
    const types: Record<string, RegExp> = {
      html: /^text\/html/,
      js: /^(text|application)\/javascript/,
      css: /^text\/css/,
    };
    expect(files).toContain("index.html");
    for (const name of ["", ...files]) {
      const { status, headers, text } = await send(`/admin/backends/${name}`);
      expect(status).toBe(200);
      expect(text).toBe(read(name || "index.html"));
      expectSafe(headers);
      const type = types[(name || "index.html").split(".").at(-1) ?? ""];
      if (type) expect(headers["content-type"]).toMatch(type);
    }
  });

  it("answers HEAD as GET, and 304 to who has it already", async () => {
    const send = await serve();
    const get = await send("/admin/backends/");
    const { etag = "" } = get.headers;
    const head = await send("/admin/backends/", { method: "HEAD" });
    expect(head).toMatchObject({ status: 200, text: "", headers: { etag } });
    expect(head.headers["content-length"]).toBe(get.headers["content-length"]);
    const cached = await send("/admin/backends/", { headers: { "if-none-match": etag } });
    expect(cached).toMatchObject({ status: 304, text: "", headers: { etag } });
    expectSafe(cached.headers);
    const other = await send("/admin/backends/", { headers: { "if-none-match": 'W/"other"' } });
    expect(other.status).toBe(200);
  });

  it("is told from another one by what is in it, whatever the host says of ETags", async () => {
    const host = express().disable("etag").use(dashboard());
    const send = await serveHttp(host);
    const index = await send("/");
    expect((await send("/index.html")).headers.etag).toBe(index.headers.etag);
    expect((await send("/", { headers: { "if-none-match": `${index.headers.etag}` } })).status).toBe(304);
    expect((await send("/api/backends")).status).toBe(200);
  });

  it.each(["POST", "PUT", "PATCH", "DELETE"])("answers %s with 405", async (method) => {
    const send = await serve();
    for (const name of ["", "index.html"]) {
      const answer = await send(`/admin/backends/${name}`, { method });
      expect(answer).toMatchObject({ status: 405, headers: { allow: "GET, HEAD" } });
    }
  });

  it("has a path that is only what it is: everything else is the host's", async () => {
    for (const path of [
      "/index.htm",
      "/index.html/",
      "/INDEX.html",
      "/indexXhtml",
      "/index%2Ehtml",
      "/./index.html",
      "/../index.js",
      "/..%2findex.js",
      "/..\\index.js",
      "/%2e%2e/index.js",
      "/page/index.html",
      "/.",
      "/.gitignore",
      "/index.html%00",
      "/router.js",
      "/api",
      "/api/",
      "/api/backends/",
      "/API/backends",
      "/constructor",
      "/__proto__",
    ]) {
      expect(await sendRaw(`GET /admin/backends${path}`)).toMatch(
        /^HTTP\/1.1 404 (.|\s)*the host's own 404$/,
      );
    }
    expect(await sendRaw("GET /admin/backends/?x=/index.js")).toMatch(/^HTTP\/1.1 200 /);
  });
});

describe("the path where it is mounted, without its slash", () => {
  it.each([
    ["/admin/backends", "./backends/"],
    ["/admin/backends?theme=dark&x=a/b?c", "./backends/?theme=dark&x=a/b?c"],
    ["/Admin/Backends", "./Backends/"],
  ])("is redirected relatively: %s", async (path, location) => {
    const send = await serve();
    for (const method of ["GET", "HEAD"]) {
      const answer = await send(path, { method });
      expect(answer).toMatchObject({ status: 302, text: "", headers: { location } });
      expectSafe(answer.headers);
    }
    expect((await send(path, { method: "POST" })).status).toBe(405);
  });

  it("leads to the page also behind a proxy that takes off what it is called by there", async () => {
    const host = await serveApp(app("/backends"));
    const proxy = express().use("/tools/llm", (req, res) => {
      get(`${host.origin}${req.url}`, (answer) => {
        res.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(res);
      });
    });
    const { origin } = await serveApp(proxy);
    const page = await fetch(`${origin}/tools/llm/backends?x=1`);
    expect(page.url).toBe(`${origin}/tools/llm/backends/?x=1`);
    expect(await page.text()).toBe(read("index.html"));
  });

  it("leads to nobody else, whatever is in it", async () => {
    const { server } = await serveApp(app("/:anything"));
    const { port } = server.address() as AddressInfo;
    for (const path of [
      "/\\evil.example",
      "/\\\\evil.example",
      "/https:evil.example",
      "/%2f%2fevil.example",
      "/@evil.example",
    ]) {
      const socket = connect(port, "127.0.0.1");
      socket.end(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
      const location = /^location: (.*)\r$/im.exec(await text(socket))?.[1];
      expect(location).toBeDefined();
      expect(new URL(`${location}`, `http://localhost${path}`).host).toBe("localhost");
    }
  });

  it("is the page itself where it is mounted at the root", async () => {
    const send = await serveHttp(app("/"));
    expect(await send("/?x=1")).toMatchObject({ status: 200, text: read("index.html") });
  });
});
