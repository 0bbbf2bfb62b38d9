import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import express, { type Handler } from "express";
import { BackendMonitor, type BackendMonitorOptions, InMemoryModelRegistry } from "express-backend-monitor";
import { createDashboardRouter } from "express-backend-monitor/dashboard";
import type { BrowserContextOptions, Page } from "playwright-core";
import { afterEach, expect, onTestFinished } from "vitest";
import { useBrowser } from "./browser.js";
import { type Call, isOk, serveBackend } from "./grpc.js";
import { type Started, start, startScript } from "./processes.js";

/** Where a host may have it. */
const PATH = "/admin/backends";

/** What a backend says of itself. Its test may change it at any time. */
export interface Said {
  state: number;
  memory?: { total: string; breakdown: Record<string, string> } | undefined;
}

export interface HostOptions extends Omit<Partial<BackendMonitorOptions>, "registry"> {
  /** Short, so that nobody waits for the next one. */
  sampleIntervalMs?: number;
  /** What stands before the dashboard. */
  before?: Handler;
  /** What the registry has of the log of any model. */
  followLogs?: (name: string, signal: AbortSignal) => AsyncIterable<string> | undefined;
}

export interface Host {
  registry: InMemoryModelRegistry;
  url: string;
  /** Listens at the same port as before. */
  start(): Promise<void>;
  /** As if it had crashed. */
  stop(): Promise<void>;
}

/** A host app with the dashboard that is built, until the end of the test. */
export async function startHost(options: HostOptions = {}): Promise<Host> {
  const { sampleIntervalMs = 100, before, followLogs, ...monitorOptions } = options;
  const registry = new InMemoryModelRegistry();
  if (followLogs) Object.assign(registry, { followLogs });
  const monitor = new BackendMonitor({ registry, ...monitorOptions });
  onTestFinished(() => monitor.close());
  const app = express();
  if (before) app.use(PATH, before);
  app.use(PATH, createDashboardRouter({ monitor, sampleIntervalMs }));
  let server: Server | undefined;
  let port = 0;
  const listen = async () => {
    server = createServer(app).listen(port, "127.0.0.1");
    await once(server, "listening");
    port = (server.address() as AddressInfo).port;
  };
  const stop = async () => {
    if (!server?.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  onTestFinished(stop);
  await listen();
  return { registry, url: `http://127.0.0.1:${port}${PATH}/`, start: listen, stop };
}

export interface Told extends Started {
  said: Said;
}

interface ToldOptions {
  /** Answers `Free`, in its own time. */
  Free?: Call;
  /** Whether its process takes no notice of SIGTERM. */
  isDeaf?: boolean;
}

/** Registers a model with a process of its own, whose backend says what the test has it say; or nothing, without that. */
export async function addModel(
  { registry }: Host,
  name: string,
  said?: Said,
  { Free, isDeaf = false }: ToldOptions = {},
): Promise<Told> {
  const wait = isDeaf ? 'trap "" TERM; while :; do sleep 0.1; done' : "exec sleep 60";
  const started = await start("sh", ["-c", `echo ready; ${wait}`]);
  const told: Told = { ...started, said: said ?? { state: 2 } };
  const { address, stop } = await serveBackend({
    Health: isOk,
    ...(said && { Status: (_call, reply) => reply(null, told.said) }),
    ...(Free && { Free }),
  });
  registry.register({ name, address, pid: told.pid, stop });
  return told;
}

/** Registers models whose backends are processes through and through: one for each. Returns their ids. */
export async function addProcesses({ registry }: Host, ...names: string[]): Promise<number[]> {
  return Promise.all(
    names.map(async (name) => {
      const { pid, words } = await startScript("reporting.mjs");
      registry.register({ name, address: `127.0.0.1:${words[0]}`, pid });
      return pid;
    }),
  );
}

export const memory = (breakdown: Record<string, number>) => ({
  total: `${Object.values(breakdown).reduce((sum, bytes) => sum + bytes, 0)}`,
  breakdown: Object.fromEntries(Object.entries(breakdown).map(([part, bytes]) => [part, `${bytes}`])),
});

/** A browser takes its time on a busy machine. */
export const PAGE_TEST = { timeout: 60_000 };

/** What the page may complain of where a test takes the server away. */
export const NETWORK = /net::ERR_/;

interface PageOptions extends BrowserContextOptions {
  /** What it may complain of. */
  allowed?: RegExp;
  /** What is done before it is loaded. */
  prepare?: (page: Page) => Promise<unknown>;
}

/** Opens pages in one browser for all tests of a file. None of them may complain, in whatever way. */
export function usePage() {
  const browser = useBrowser();
  const complaints: string[] = [];
  afterEach(() => expect(complaints.splice(0)).toEqual([]));

  return async (url: string, { allowed, prepare, ...options }: PageOptions = {}): Promise<Page> => {
    const context = await browser().newContext({
      viewport: { width: 1280, height: 800 },
      // What moves takes its time.
      reducedMotion: "reduce",
      ...options,
    });
    onTestFinished(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const complain = (what: string) => {
      if (!allowed?.test(what)) complaints.push(what);
    };
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") complain(message.text());
    });
    page.on("pageerror", ({ message }) => complain(message));
    page.on("dialog", (dialog) => {
      complain(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(url)) complain(`a request elsewhere: ${request.url()}`);
    });
    await page.addInitScript(
      'addEventListener("securitypolicyviolation", (e) => console.error("violates", e.violatedDirective, e.blockedURI));',
    );
    await prepare?.(page);
    await page.goto(url);
    return page;
  };
}

/** The row of a model. */
export function rowOf(page: Page, name: string) {
  return page.getByRole("row").filter({ has: page.getByRole("button", { name, exact: true }) });
}
