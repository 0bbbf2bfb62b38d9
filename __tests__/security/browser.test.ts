import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import type { Handler } from "express";
import type { Page } from "playwright-core";
import { describe, expect, it, onTestFinished } from "vitest";
import { type BackendMonitorRouterOptions, bearerAuth } from "../../lib/index.js";
import { EVIL_NAME, hasBrowser, inBrowser, useBrowser } from "../support/browser.js";
import { REPORT } from "../support/faults.js";
import { hostApp, MODEL } from "../support/host-app.js";
import { send } from "../support/http.js";
import { isLinux, isRunning } from "../support/processes.js";

if (!hasBrowser) console.warn(`what a page can do was not tried${inBrowser}`);

const browser = useBrowser();

const SCRIPT = readFileSync(new URL("../support/page-of-evil.js", import.meta.url));
const PAGE =
  '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script src="/page.js"></script>';

/** What the owner of the page has its name point to at first. */
const evil: RequestListener = (req, res) => {
  res.setHeader("Content-Type", req.url === "/" ? "text/html" : "text/javascript");
  res.end(req.url === "/" ? PAGE : SCRIPT);
};

interface Listening {
  port: number;
  /** Has another one answer at the same port. */
  become(next: RequestListener): void;
}

async function listen(listener: RequestListener): Promise<Listening> {
  let current = listener;
  const server = createServer((req, res) => current(req, res)).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    become: (next) => {
      current = next;
      server.closeIdleConnections();
    },
  };
}

async function open(url: string): Promise<Page> {
  const context = await browser().newContext();
  onTestFinished(() => context.close());
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

/** Has the page make all attempts; resolves with what it got to see of any. */
async function attempt(page: Page, origin: string): Promise<Record<string, string>> {
  return page.evaluate(`attempt(${JSON.stringify(origin)}, ${JSON.stringify(MODEL)})`);
}

const MONITOR = "/backend/monitor";
const SHUTDOWN = "/backend/shutdown";

/** What a browser sends without having asked, and what it asks for before it sends anything. */
const SENT = [
  `GET ${MONITOR}`,
  `GET ${SHUTDOWN}`,
  `OPTIONS ${MONITOR}`,
  `OPTIONS ${SHUTDOWN} asks for content-type`,
  `POST ${SHUTDOWN}`,
  `POST ${SHUTDOWN} application/x-www-form-urlencoded`,
  `POST ${SHUTDOWN} multipart/form-data`,
  `POST ${SHUTDOWN} text/plain`,
  `POST ${SHUTDOWN} text/plain; application/json`,
];

describe.skipIf(!hasBrowser || !isLinux)(`in a browser, a page of another origin${inBrowser}`, () => {
  it.each(["127.0.0.1", EVIL_NAME])("at %s can neither read what a model costs nor stop it", async (name) => {
    const { app, pid, requests } = await hostApp();
    const { port } = await listen(app);
    const page = await open(`http://${name}:${(await listen(evil)).port}/`);
    const seen = await attempt(page, `http://127.0.0.1:${port}`);
    expect(Object.keys(seen).length).toBeGreaterThan(20);
    for (const [attempted, got] of Object.entries(seen)) expect([attempted, got]).toEqual([attempted, ""]);
    // All of it was sent: it is not that the page did not try.
    const sent = () => new Set(requests.filter((request) => request !== "GET /favicon.ico"));
    await expect.poll(() => [...sent()].sort()).toEqual(SENT);
    expect(isRunning(pid)).toBe(true);
    expect((await send(`http://127.0.0.1:${port}${MONITOR}?model=${MODEL}`)).json).toEqual(REPORT);
  });

  it("can do both where the host app allows any origin: that is the host's to decide", async () => {
    const cors: Handler = (req, res, next) => {
      res.set({ "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*" });
      if (req.method === "OPTIONS") res.status(204).end();
      else next();
    };
    const { app, pid } = await hostApp({}, cors);
    const origin = `http://127.0.0.1:${(await listen(app)).port}`;
    const page = await open(`http://127.0.0.1:${(await listen(evil)).port}/`);
    expect(await tryOne(page, "fetch of what a model costs", origin)).toBe(JSON.stringify(REPORT));
    expect(await tryOne(page, "fetch of JSON", origin)).toBe('{"message":"model stopped"}');
    expect(isRunning(pid)).toBe(false);
  });
});

function tryOne(page: Page, attempted: string, origin: string): Promise<string> {
  return page.evaluate(
    `attempts(${JSON.stringify(origin)}, ${JSON.stringify(MODEL)})[${JSON.stringify(attempted)}]()`,
  );
}

/** A page whose name points to the host app, once it is loaded: to the browser, they are of one origin. */
async function rebound(options: (port: number) => Partial<BackendMonitorRouterOptions>) {
  const listening = await listen(evil);
  const { port } = listening;
  const host = await hostApp(options(port));
  const page = await open(`http://${EVIL_NAME}:${port}/`);
  listening.become(host.app);
  const origin = `http://${EVIL_NAME}:${port}`;
  return { ...host, page, origin, port };
}

describe.skipIf(!hasBrowser || !isLinux)(
  `in a browser, a page whose name points to this machine${inBrowser}`,
  () => {
    it("can read what a model costs, and stop it, where nothing guards the server", async () => {
      const { page, origin, pid } = await rebound(() => ({}));
      expect(await tryOne(page, "fetch of what a model costs", origin)).toBe(JSON.stringify(REPORT));
      expect(await tryOne(page, "fetch of JSON", origin)).toBe('{"message":"model stopped"}');
      expect(isRunning(pid)).toBe(false);
    });

    it("can do neither where allowedHosts is set", async () => {
      const { page, origin, port, pid } = await rebound((port) => ({
        allowedHosts: ["localhost", `127.0.0.1:${port}`],
      }));
      const seen = await attempt(page, origin);
      for (const attempted of ["fetch of what a model costs", "fetch of JSON", "XMLHttpRequest of JSON"]) {
        expect(JSON.parse(seen[attempted] ?? "")).toMatchObject({
          error: { code: 403, message: expect.stringContaining(`got "${EVIL_NAME}:${port}"`) },
        });
      }
      for (const [attempted, got] of Object.entries(seen)) {
        expect([attempted, got]).toEqual([attempted, expect.not.stringMatching(/state|memory|stopped/)]);
      }
      expect(isRunning(pid)).toBe(true);
      expect((await send(`http://127.0.0.1:${port}${MONITOR}?model=${MODEL}`)).json).toEqual(REPORT);
    });

    it("can do neither where a token is asked for", async () => {
      const { page, origin, pid } = await rebound(() => ({ authorize: bearerAuth(["s3cret"]) }));
      for (const attempted of ["fetch of what a model costs", "fetch of JSON"]) {
        expect(JSON.parse(await tryOne(page, attempted, origin))).toMatchObject({ error: { code: 401 } });
      }
      expect(isRunning(pid)).toBe(true);
    });
  },
);
