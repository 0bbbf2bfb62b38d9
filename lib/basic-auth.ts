import type { RequestHandler } from "express";
import { kindOf, quote } from "./message.js";
import { checkValue, type OptionCheck } from "./options.js";
import { sendError } from "./response.js";
import { isOneOf } from "./secrets.js";

/**
 * A guard for `authorize`: lets a request pass that has the name and the password of one of these users, as
 * `Authorization: Basic …` (RFC 7617); answers `401` to any other. A browser that is answered so asks for both, and sends them
 * from then on: with it, a person can open the dashboard. They travel in plain text, so have TLS in front where others listen.
 *
 * ```ts
 * const monitor = new BackendMonitor({ registry });
 * app.use("/admin/backends", createDashboardRouter({ monitor, authorize: basicAuth({ alice: "s3cret" }) }));
 * ```
 *
 * @param users passwords by name. A name has no colon; neither has control characters.
 * @throws {TypeError} where there is no user, or one that can't be sent. It does not show passwords.
 */
export function basicAuth(users: Readonly<Record<string, string>>): RequestHandler {
  checkValue("basicAuth", users, passwords);
  const isKnown = isOneOf(Object.entries(users).map(([name, password]) => `${name}:${password}`));

  return function basicAuthGuard(req, res, next) {
    const encoded = /^Basic +([\w+/]+=*) *$/i.exec(req.headers.authorization ?? "")?.[1] ?? "";
    if (isKnown(Buffer.from(encoded, "base64").toString())) return next();

    res.setHeader("WWW-Authenticate", 'Basic realm="backend monitor", charset="UTF-8"');
    const message = 'a name and a password are needed: send "Authorization: Basic BASE64", of NAME:PASSWORD';
    sendError(res, { status: 401, type: "invalid_request_error", message });
  };
}

const NAME = /^[^:\p{Cc}]+$/u;
const PASSWORD = /^\P{Cc}+$/u;

const passwords: OptionCheck = {
  takes:
    "an object of at least one password by its user's name; names have no colon, and neither has control characters",
  accepts: (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    const users = Object.entries(value);
    return users.length > 0 && users.every(isUser);
  },
  describe: (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return kindOf(value);
    const users = Object.entries(value);
    const [name = ""] = users.find((user) => !isUser(user)) ?? [];
    return users.length === 0
      ? "an empty object"
      : `an object whose ${quote(name)} is no such user or has no such password`;
  },
};

function isUser([name, password]: [string, unknown]): boolean {
  return NAME.test(name) && typeof password === "string" && PASSWORD.test(password);
}
