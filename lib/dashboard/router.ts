import express, { type Router } from "express";
import { jsonBodyReader } from "../body.js";
import { aMonitor, type BackendMonitor, partsOf } from "../monitor.js";
import { checkOptions, millisecondsFrom, type OptionCheck, required } from "../options.js";
import { answering, checkNoMore, type GuardOptions, guardOptionChecks, guardsOf, route } from "../routing.js";
import { beginStream } from "./event-stream.js";
import { Feed } from "./feed.js";
import { History } from "./history.js";
import { LogReader } from "./logs.js";
import { Page } from "./page.js";
import { DashboardRequestReader } from "./request.js";
import { shutDown } from "./shutdown.js";
import { snapshotOf } from "./snapshot.js";

/** Options of {@link createDashboardRouter}. */
export interface DashboardRouterOptions extends GuardOptions {
  /** Whose models it shows. The router with the four endpoints can share it. */
  monitor: BackendMonitor;
  /**
   * How long it is from one sample of all models to the next while somebody looks, in milliseconds, from 100 to 60,000.
   * Default 1,000.
   */
  sampleIntervalMs?: number | undefined;
}

const dashboardOptionChecks: Record<keyof DashboardRouterOptions, OptionCheck> = {
  monitor: required(aMonitor),
  sampleIntervalMs: millisecondsFrom(100, 60_000),
  ...guardOptionChecks,
};

const DEFAULT_SAMPLE_INTERVAL_MS = 1_000;

/** Enough to name some hundred models of long names. */
const MAX_SHUTDOWN_BYTES = 256 * 1024;

const GET = ["GET", "HEAD"];

/**
 * Makes the router with the dashboard: a page, and the paths under `api/` that it asks. Mount it at a path of its own.
 *
 * ```ts
 * const monitor = new BackendMonitor({ registry });
 * app.use(createBackendMonitorRouter({ monitor }));
 * app.use("/admin/backends", createDashboardRouter({ monitor, allowedHosts: ["localhost"] }));
 * ```
 *
 * Samples are taken while somebody looks, by one loop for all of them, and never otherwise.
 *
 * @throws {TypeError} naming the option that is not what it takes.
 */
export function createDashboardRouter(options: DashboardRouterOptions): Router;
// What is passed besides, by mistake, does not show in its type.
export function createDashboardRouter(options: DashboardRouterOptions, ...misplaced: unknown[]): Router {
  checkNoMore(
    misplaced,
    "createDashboardRouter",
    'app.use("/admin/backends", createDashboardRouter({ monitor }))',
  );
  checkOptions("createDashboardRouter", options, dashboardOptionChecks);
  const { monitor, sampleIntervalMs = DEFAULT_SAMPLE_INTERVAL_MS } = options;
  const { registry, log, statusTimeoutMs } = partsOf(monitor);
  const guards = guardsOf(options);
  const requests = new DashboardRequestReader();
  const readBody = jsonBodyReader(MAX_SHUTDOWN_BYTES);
  const history = new History();
  const feed = new Feed(monitor, history, sampleIntervalMs);
  const logs = new LogReader(registry, log, statusTimeoutMs);
  const page = new Page();

  const backends = answering(log, GET, async () => {
    const models = await monitor.overview();
    const at = Date.now();
    history.record(at, models);
    return snapshotOf(registry, sampleIntervalMs, at, models);
  });
  const shutdown = answering(log, ["POST"], async (req, res) =>
    shutDown(monitor, requests.shutdownOf(await readBody(req, res))),
  );
  const events = route(log, GET, (req, res) => {
    if (req.method === "HEAD") beginStream(res).end();
    else feed.show(res, req.get("last-event-id"));
  });
  const readLogs = route(log, GET, async (req, res) => {
    const name = requests.modelOf(req.url);
    await (requests.isFollowed(req.url) ? logs.follow(res, name) : logs.sendTail(res, name));
  });

  // Just these paths: all others are the host's.
  const router = express.Router({ caseSensitive: true, strict: true });
  router.all("/api/backends", ...guards, backends);
  router.all("/api/backends/shutdown", ...guards, shutdown);
  router.all(
    "/api/history",
    ...guards,
    answering(log, GET, async (req) => history.read(requests.modelOf(req.url))),
  );
  router.all("/api/events", ...guards, events);
  router.all("/api/logs", ...guards, readLogs);
  router.all(
    "/",
    ...guards,
    route(log, GET, (req, res) => page.sendIndex(req, res)),
  );
  router.all(
    page.paths,
    ...guards,
    route(log, GET, (req, res) => page.sendFile(req, res)),
  );
  return router;
}
