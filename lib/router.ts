import express, { type Request, type RequestHandler, type Response, type Router } from "express";
import { aHost, allowHosts } from "./allowed-hosts.js";
import { bearerAuth } from "./bearer-auth.js";
import { readJsonBody } from "./body.js";
import { asMonitorError, InvalidRequestError } from "./errors.js";
import { Log } from "./log.js";
import { BackendMonitor, type BackendMonitorOptions, monitorOptionChecks } from "./monitor.js";
import { checkOptions, functionWith, type OptionCheck, oneOrSomeOf, someOf } from "./options.js";
import { RequestReader } from "./request.js";
import { sendError, sendJson } from "./response.js";

/** Options of {@link createBackendMonitorRouter}. */
export interface BackendMonitorRouterOptions extends BackendMonitorOptions {
  /**
   * One or more Express handlers that run before the four routes, and before no others: who may call.
   * Default: everybody may.
   */
  authorize?: RequestHandler | readonly RequestHandler[] | undefined;
  /**
   * The names that a request to the four routes may call this server by, in its `Host` header: host names or addresses, with or
   * without a port (without one, any port will do), such as `["localhost", "127.0.0.1", "monitor.example.com:8443"]`. Any other
   * request is answered with `403` before anything else. Set it wherever a browser can reach the server without a
   * guard: to that browser, a page whose own name points to your machine (DNS rebinding) is of your server's origin. What a
   * proxy puts into `X-Forwarded-Host` does not count. Default: any host.
   */
  allowedHosts?: readonly string[] | undefined;
}

const expressHandler: OptionCheck = {
  takes: "an Express handler (req, res, next)",
  // With a fourth argument, it would be one for errors, and let everybody pass who makes none.
  ...functionWith(3, bearerAuth),
};

/**
 * Makes the router with the four endpoints. Mount it where the rest of the app stands.
 *
 * ```ts
 * const registry = new InMemoryModelRegistry();
 * registry.register({ name: "my-model", address: "127.0.0.1:50051", pid: 4711 });
 * app.use(createBackendMonitorRouter({ registry, authorize: bearerAuth(["s3cret"]) }));
 * ```
 *
 * @throws {TypeError} naming the option that is not what it takes.
 */
export function createBackendMonitorRouter(options: BackendMonitorRouterOptions): Router;
// What is passed besides, by mistake, does not show in its type.
export function createBackendMonitorRouter(
  options: BackendMonitorRouterOptions,
  ...misplaced: unknown[]
): Router {
  if (misplaced.length > 0) {
    throw new TypeError(
      `createBackendMonitorRouter takes one argument, its options, got ${1 + misplaced.length}; a guard is its option ` +
        '"authorize", and it is called where it is mounted: app.use(createBackendMonitorRouter({ registry }))',
    );
  }
  checkOptions("createBackendMonitorRouter", options, {
    ...monitorOptionChecks,
    authorize: oneOrSomeOf(expressHandler),
    allowedHosts: someOf(aHost),
  });
  const { authorize = [], allowedHosts, ...monitorOptions } = options;
  const monitor = new BackendMonitor(monitorOptions);
  const log = new Log(options.logger);
  const requests = new RequestReader();
  const hostGuard = allowedHosts === undefined ? [] : allowHosts(allowedHosts);
  const guards = [hostGuard, authorize].flat().map(passErrorsOn).map(leaveOptionsToHost);

  // Just these paths: "/Backend/Monitor" and "/backend/monitor/" are the host's.
  const router = express.Router({ caseSensitive: true, strict: true });

  const backendMonitor: RequestHandler = (req, res) =>
    answer(req, res, ["GET", "HEAD"], async () => {
      const { model } = requests.monitorQuery(req.url) ?? requests.monitorBody(await readJsonBody(req, res));
      return monitor.status(model);
    });
  const backendShutdown: RequestHandler = (req, res) =>
    answer(req, res, ["POST"], async () => {
      const { model, force } = requests.shutdownBody(await readJsonBody(req, res));
      await monitor.shutdown(model, { force });
      return { message: "model stopped" };
    });
  router.all(["/backend/monitor", "/v1/backend/monitor"], ...guards, leaveOptionsToHost(backendMonitor));
  router.all(["/backend/shutdown", "/v1/backend/shutdown"], ...guards, leaveOptionsToHost(backendShutdown));

  return router;

  /** Answers with what `handle` returns or throws; the host's error handler never sees it. */
  async function answer(req: Request, res: Response, methods: string[], handle: () => Promise<object>) {
    try {
      if (!methods.includes(req.method)) {
        res.setHeader("Allow", methods.join(", "));
        throw new InvalidRequestError(`${req.method} is not for this path; send ${methods[0]}`, 405);
      }
      sendJson(res, 200, await handle());
    } catch (error) {
      const failure = asMonitorError(error);
      sendError(res, failure.status, failure.type, failure.message);
      // The monitor has told of its own.
      if (failure !== error) log.failure(failure);
    }
  }
}

/** CORS is the host's business, and without this Express would answer by itself. */
function leaveOptionsToHost(handler: RequestHandler): RequestHandler {
  return (req, res, next) => (req.method === "OPTIONS" ? next("route") : handler(req, res, next));
}

/** What Express 5 does for every handler, and Express 4 for none: a promise that rejects is an error, not a crash. */
function passErrorsOn(handler: RequestHandler): RequestHandler {
  return async (req, res, next) => {
    try {
      await handler(req, res, next);
    } catch (error) {
      next(error);
    }
  };
}
