import express, { type Router } from "express";
import { jsonBodyReader, MAX_BODY_BYTES } from "./body.js";
import {
  aMonitor,
  BackendMonitor,
  type BackendMonitorOptions,
  monitorOptionChecks,
  partsOf,
} from "./monitor.js";
import { checkOptions, required } from "./options.js";
import { RequestReader } from "./request.js";
import { answering, checkNoMore, type GuardOptions, guardOptionChecks, guardsOf } from "./routing.js";

/** Options of {@link createBackendMonitorRouter}, which makes a monitor of them. */
export interface BackendMonitorRouterOptions extends BackendMonitorOptions, GuardOptions {}

/** Options of {@link createBackendMonitorRouter} for a monitor that is there already. */
export interface SharedMonitorRouterOptions extends GuardOptions {
  /** What answers. Its own options are not given once more. */
  monitor: BackendMonitor;
}

/**
 * Makes the router with the four endpoints. Mount it where the rest of the app stands.
 *
 * ```ts
 * const registry = new InMemoryModelRegistry();
 * registry.register({ name: "my-model", address: "127.0.0.1:50051", pid: 4711 });
 * app.use(createBackendMonitorRouter({ registry, authorize: bearerAuth(["s3cret"]) }));
 * ```
 *
 * With `monitor` in the place of `registry` and the like, it shares that with a dashboard or with metrics.
 *
 * @throws {TypeError} naming the option that is not what it takes.
 */
export function createBackendMonitorRouter(
  options: BackendMonitorRouterOptions | SharedMonitorRouterOptions,
): Router;
// What is passed besides, by mistake, does not show in its type.
export function createBackendMonitorRouter(
  options: BackendMonitorRouterOptions | SharedMonitorRouterOptions,
  ...misplaced: unknown[]
): Router {
  checkNoMore(misplaced, "createBackendMonitorRouter", "app.use(createBackendMonitorRouter({ registry }))");
  const monitor = monitorOf(options);
  const { log } = partsOf(monitor);
  const guards = guardsOf(options);
  const requests = new RequestReader();
  const readBody = jsonBodyReader(MAX_BODY_BYTES);

  const backendMonitor = answering(log, ["GET", "HEAD"], async (req, res) => {
    const { model } = requests.monitorQuery(req.url) ?? requests.monitorBody(await readBody(req, res));
    return monitor.status(model);
  });
  const backendShutdown = answering(log, ["POST"], async (req, res) => {
    const { model, force } = requests.shutdownBody(await readBody(req, res));
    await monitor.shutdown(model, { force });
    return { message: "model stopped" };
  });

  // Just these paths: "/Backend/Monitor" and "/backend/monitor/" are the host's.
  const router = express.Router({ caseSensitive: true, strict: true });
  router.all(["/backend/monitor", "/v1/backend/monitor"], ...guards, backendMonitor);
  router.all(["/backend/shutdown", "/v1/backend/shutdown"], ...guards, backendShutdown);
  return router;
}

function monitorOf(options: BackendMonitorRouterOptions | SharedMonitorRouterOptions): BackendMonitor {
  if (hasMonitor(options)) {
    checkOptions("createBackendMonitorRouter", options, {
      monitor: required(aMonitor),
      ...guardOptionChecks,
    });
    return options.monitor;
  }
  checkOptions("createBackendMonitorRouter", options, { ...monitorOptionChecks, ...guardOptionChecks });
  const { authorize, allowedHosts, ...monitorOptions } = options;
  return new BackendMonitor(monitorOptions);
}

function hasMonitor(options: object): options is SharedMonitorRouterOptions {
  return typeof options === "object" && options !== null && "monitor" in options;
}
