import { inspect } from "node:util";
import express, { type Request, type RequestHandler, type Response, type Router } from "express";
import { readJsonBody } from "./body.js";
import { InternalError, InvalidRequestError, MonitorError } from "./errors.js";
import { BackendMonitor, type BackendMonitorOptions, monitorOptionChecks } from "./monitor.js";
import { aFunction, checkOptions, objectWith } from "./options.js";
import { RequestReader } from "./request.js";
import { sendError, sendJson } from "./response.js";

/** Where the router tells what went wrong: `console`, or any logger with such a method. */
export interface Logger {
  error(message: string): unknown;
}

/** Options of {@link createBackendMonitorRouter}. */
export interface BackendMonitorRouterOptions extends BackendMonitorOptions {
  /**
   * One or more Express handlers that run before the four routes, and before no others: who may call.
   * Default: everybody may.
   */
  authorize?: RequestHandler | readonly RequestHandler[] | undefined;
  /** Called for each `backend_error` and `internal_error`, with its cause and stack. Default: silence. */
  logger?: Logger | undefined;
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
 * @throws {TypeError} naming the option that is not what it takes.
 */
export function createBackendMonitorRouter(options: BackendMonitorRouterOptions): Router {
  checkOptions("createBackendMonitorRouter", options, {
    ...monitorOptionChecks,
    authorize: {
      takes: "an Express handler, or an array of at least one",
      // An empty list is most likely a mistake, and it would leave the door open.
      accepts: (value) => [value].flat().length > 0 && [value].flat().every(aFunction.accepts),
    },
    logger: objectWith("error"),
  });
  const { authorize = [], logger, ...monitorOptions } = options;
  const monitor = new BackendMonitor(monitorOptions);
  const requests = new RequestReader();
  const guards = [authorize].flat().map(passErrorsOn).map(leaveOptionsToHost);

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
      if (failure.type === "backend_error" || failure.type === "internal_error") void log(failure);
    }
  }

  async function log(failure: MonitorError) {
    try {
      await logger?.error(`express-backend-monitor: ${show(failure)}`);
    } catch {
      // The request has its answer; a logger that throws is not to bring the server down.
    }
  }
}

/** Even to be asked what it is may make what a registry threw throw again, and this is the last place to catch it. */
function asMonitorError(error: unknown): MonitorError {
  try {
    if (error instanceof MonitorError) return error;
  } catch {
    // It is certainly none.
  }
  return new InternalError("something unforeseen happened; the server's logger is told what", {
    cause: error,
  });
}

/** What a registry threw may throw again when it is looked at. */
function show(failure: MonitorError): string {
  try {
    return inspect(failure);
  } catch {
    return String(failure.stack);
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
