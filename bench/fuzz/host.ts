import { AsyncLocalStorage } from "node:async_hooks";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import express, { type ErrorRequestHandler, type Handler } from "express";
import {
  BackendError,
  type BackendMonitorRouterOptions,
  createBackendMonitorRouter,
  type LoadedModel,
} from "express-backend-monitor";
import { kinds } from "./models.js";

/** What the host's own code saw of a request. */
export interface Seen {
  looked: string[];
  stopped: { name: string; force: boolean }[];
  logged: string[];
  hostError?: unknown;
}

export interface Host {
  port: number;
  /** What is seen from now on, with these models loaded. */
  see(models: Models): Seen;
  close(): Promise<void>;
}

export const SECRET_PATH = "/srv/secret/backend.sock";

export type Models = Map<string, LoadedModel>;

/** Where the host leaves its mark: what it answers by itself. */
const fromHost: Handler = (_req, res) => {
  res.writeHead(404, { "X-Host": "404", "Content-Length": 14 }).end("nobody is here");
};
const errorFromHost: ErrorRequestHandler = (error, _req, res, _next) => {
  const seen = seenNow.getStore();
  if (seen) seen.hostError = error;
  res.writeHead(400, { "X-Host": "error", "Content-Length": 0 }).end();
};

/** Each request has its own, as one that was given up may go on for a while. */
const seenNow = new AsyncLocalStorage<Seen>();

/** An app with the router on a free port. Its registry stops nothing, but does take off its list what was stopped. */
export async function startHost(
  before: Handler[] = [],
  options: Partial<BackendMonitorRouterOptions> = {},
): Promise<Host> {
  let current: Seen & { models: Models };
  const see = (models: Models) => {
    current = { looked: [], stopped: [], logged: [], models };
    return current;
  };
  const app = express();
  if (before.length > 0) app.use(...before);
  app.use(
    createBackendMonitorRouter({
      drainTimeoutMs: 0,
      // Where a backend answers, it is never to be too late, however busy the machine.
      statusTimeoutMs: 4_000,
      registry: {
        get(name) {
          store().looked.push(name);
          if (kinds.get(name) === "failing") throw new Error(`can't read ${SECRET_PATH}`);
          return store().models.get(name);
        },
        list: () => [...store().models.values()],
        shutdown(name, { force }) {
          store().stopped.push({ name, force });
          if (kinds.get(name) === "stuck") throw new BackendError("it would not go");
          store().models.delete(name);
        },
      },
      logger: { info: () => {}, error: (message) => store().logged.push(message) },
      ...options,
    }),
  );
  app.use(fromHost, errorFromHost);
  const store = () => seenNow.getStore() as typeof current;
  const server = createServer((req, res) => seenNow.run(current, () => app(req, res)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    see,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
