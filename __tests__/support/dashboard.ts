import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import express, { type Express, type Handler } from "express";
import { expect, onTestFinished } from "vitest";
import { createDashboardRouter, type DashboardRouterOptions } from "../../lib/dashboard/index.js";
import {
  BackendMonitor,
  type BackendMonitorOptions,
  type LoadedModel,
  type ModelRegistry,
} from "../../lib/index.js";
import { view } from "./event-source.js";
import { type Call, serveBackend } from "./grpc.js";
import { type Answer, type RequestOptions, send } from "./http.js";

/** As often as may be: a test that waits for samples does not wait for long. */
export const INTERVAL_MS = 100;

/** A registry whose models come and go as a test has it, and that counts how often it is asked for all of them. */
export class CountingRegistry implements ModelRegistry {
  readonly models = new Map<string, LoadedModel>();
  /** How often it was asked: that is how many samples were taken. */
  lists = 0;
  /** How many of them there were at the same time, at most. */
  atOnce = 0;
  #underWay = 0;
  /** What is done before it answers. */
  before: () => unknown = () => {};

  get(name: string): LoadedModel | undefined {
    return this.models.get(name);
  }

  async list(): Promise<LoadedModel[]> {
    this.lists++;
    this.#underWay++;
    this.atOnce = Math.max(this.atOnce, this.#underWay);
    try {
      await this.before();
      return [...this.models.values()];
    } finally {
      this.#underWay--;
    }
  }

  shutdown(name: string): void {
    this.models.delete(name);
  }
}

/** Loads a model of each of these names, all served by one backend. What comes back sets the bytes that it reports. */
export async function load(registry: CountingRegistry, ...names: string[]): Promise<(bytes: number) => void> {
  let total = 300;
  const Status: Call = (_call, reply) =>
    reply(null, { state: 2, memory: { total: `${total}`, breakdown: {} } });
  const { address } = await serveBackend({ Status });
  for (const name of names) registry.models.set(name, { name, address });
  return (bytes) => {
    total = bytes;
  };
}

export const MOUNT = "/admin/backends";

/** Looks at the events of the dashboard at a URL, from the one after `lastId` on where there is one. */
const viewOf = (url: string) => (lastId?: string) =>
  view(`${url}/api/events`, lastId === undefined ? {} : { "last-event-id": lastId });

type Options = Omit<Partial<DashboardRouterOptions>, "monitor"> &
  Partial<BackendMonitorOptions> & { registry: ModelRegistry };

/** A host app with a dashboard until the end of the test. */
export async function serveDashboard(options: Options, ...before: Handler[]) {
  const { authorize, allowedHosts, sampleIntervalMs = INTERVAL_MS, ...monitorOptions } = options;
  const monitor = new BackendMonitor(monitorOptions);
  onTestFinished(() => monitor.close());
  const app = express();
  if (before.length > 0) app.use(...before);
  app.use(MOUNT, createDashboardRouter({ monitor, authorize, allowedHosts, sampleIntervalMs }));
  app.use((_req, res) => void res.status(404).send("the host's own 404"));
  const { server, origin } = await serveApp(app);
  const url = `${origin}${MOUNT}`;
  return {
    monitor,
    server,
    url,
    send: (path: string, request?: RequestOptions): Promise<Answer> => send(`${url}${path}`, request),
    view: viewOf(url),
  };
}

/** Serves an app until the end of the test. */
export async function serveApp(app: Express) {
  const server = createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { server, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** Waits until nobody is connected to a server any more. */
export async function isLeft(server: Server): Promise<void> {
  const connections = promisify(server.getConnections.bind(server));
  await expect.poll(() => connections()).toBe(0);
}

/** Waits until another dashboard has taken some samples: as much time has passed for all. */
export async function someSamplesLater(): Promise<void> {
  const { view } = await serveDashboard({ registry: new CountingRegistry() });
  const viewer = await view();
  for (let samples = 0; samples < 4; samples++) await viewer.next("change");
  viewer.leave();
}
