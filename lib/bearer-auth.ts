import type { RequestHandler } from "express";
import { bearerToken, checkValue, someOf } from "./options.js";
import { sendError } from "./response.js";
import { isOneOf } from "./secrets.js";

/**
 * A guard for `authorize`: lets a request pass that has one of these tokens, as `Authorization: Bearer <token>`;
 * answers `401` to any other.
 *
 * ```ts
 * createBackendMonitorRouter({ registry, authorize: bearerAuth(["s3cret"]) });
 * ```
 *
 * @throws {TypeError} where there is no token, or one that no header could carry. It does not show the token.
 */
export function bearerAuth(tokens: readonly string[]): RequestHandler {
  checkValue("bearerAuth", tokens, someOf(bearerToken));
  const isKnown = isOneOf(tokens);

  return function bearerAuthGuard(req, res, next) {
    const token = /^Bearer +([\x21-\x7e]+) *$/i.exec(req.headers.authorization ?? "")?.[1] ?? "";
    if (isKnown(token)) return next();

    res.setHeader("WWW-Authenticate", "Bearer");
    const message = 'a token is needed: send "Authorization: Bearer TOKEN"';
    sendError(res, { status: 401, type: "invalid_request_error", message });
  };
}
