import type { Request, RequestHandler, Response } from "express";
import { aHost, allowHosts } from "./allowed-hosts.js";
import { basicAuth } from "./basic-auth.js";
import { bearerAuth } from "./bearer-auth.js";
import { asMonitorError, InvalidRequestError } from "./errors.js";
import type { Log } from "./log.js";
import { functionWith, type OptionCheck, oneOrSomeOf, someOf } from "./options.js";
import { sendError, sendJson } from "./response.js";

/** Who may call a router of this package. */
export interface GuardOptions {
  /**
   * One or more Express handlers that run before the router's own routes, and before no others: who may call.
   * Default: everybody may.
   */
  authorize?: RequestHandler | readonly RequestHandler[] | undefined;
  /**
   * The names that a request to the router's own routes may call this server by, in its `Host` header: host names or addresses,
   * with or without a port (without one, any port will do), such as `["localhost", "127.0.0.1", "monitor.example.com:8443"]`.
   * Any other request is answered with `403` before anything else. Set it wherever a browser can reach the server without a
   * guard: to that browser, a page whose own name points to your machine (DNS rebinding) is of your server's origin. What a
   * proxy puts into `X-Forwarded-Host` does not count. Default: any host.
   */
  allowedHosts?: readonly string[] | undefined;
}

const expressHandler: OptionCheck = {
  takes: "an Express handler (req, res, next)",
  // With a fourth argument, it would be one for errors, and let everybody pass who makes none.
  ...functionWith(3, basicAuth, bearerAuth),
};

export const guardOptionChecks: Record<keyof GuardOptions, OptionCheck> = {
  authorize: oneOrSomeOf(expressHandler),
  allowedHosts: someOf(aHost),
};

/** @throws {TypeError} where a factory is passed more than its options, which does not show in its type. */
export function checkNoMore(misplaced: readonly unknown[], factory: string, example: string): void {
  if (misplaced.length === 0) return;
  throw new TypeError(
    `${factory} takes one argument, its options, got ${1 + misplaced.length}; a guard is its option "authorize", and ` +
      `it is called where it is mounted: ${example}`,
  );
}

/** What stands before the routes. */
export function guardsOf({ authorize = [], allowedHosts }: GuardOptions): RequestHandler[] {
  const hostGuard = allowedHosts === undefined ? [] : allowHosts(allowedHosts);
  return [hostGuard, authorize].flat().map(passErrorsOn).map(leaveOptionsToHost);
}

/** A route that is answered with the JSON of what `handle` returns or throws; the host's error handler never sees it. */
export function answering(
  log: Log,
  methods: readonly string[],
  handle: (req: Request, res: Response) => Promise<object>,
): RequestHandler {
  return route(log, methods, async (req, res) => sendJson(res, 200, await handle(req, res)));
}

/** The same for one that answers by itself; what it throws before it does is answered as JSON. */
export function route(
  log: Log,
  methods: readonly string[],
  handle: (req: Request, res: Response) => void | Promise<void>,
): RequestHandler {
  return leaveOptionsToHost(async (req, res) => {
    try {
      if (!methods.includes(req.method)) {
        res.setHeader("Allow", methods.join(", "));
        throw new InvalidRequestError(`${req.method} is not for this path; send ${methods[0]}`, 405);
      }
      await handle(req, res);
    } catch (error) {
      const failure = asMonitorError(error);
      sendError(res, failure);
      // The monitor has told of its own.
      if (failure !== error) log.failure(failure);
    }
  });
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
