import { domainToASCII } from "node:url";
import type { Request, RequestHandler } from "express";
import { quote } from "./message.js";
import type { OptionCheck } from "./options.js";
import { sendError } from "./response.js";

interface Host {
  readonly name: string;
  /** Absent where none is named. */
  readonly port?: string | undefined;
}

export const aHost: OptionCheck = {
  takes: 'a host name or an address, with or without a port ("localhost", "127.0.0.1:8080", "[::1]")',
  accepts: (value) => typeof value === "string" && parseHost(value) !== undefined,
};

/** Labels of a name with dots in between, or an address; then a port. A name in another script has its "xn--" form. */
const HOST = /^(?<name>[\w-]+(?:\.[\w-]+)*\.?|\[[\da-f:.]+\])(?::(?<port>[1-9]\d{0,4}))?$/i;

/** What a client leaves out, of the one scheme or the other: behind a proxy, nobody here knows which. */
const DEFAULT_PORTS = ["80", "443"];

/**
 * A guard that answers `403` to any request whose `Host` is none of these: a page that has its own name point to this
 * machine can have a browser send requests here, but it is its own name that they have in `Host`.
 */
export function allowHosts(hosts: readonly string[]): RequestHandler {
  const allowed = hosts.flatMap((host) => parseHost(host) ?? []);

  return function allowedHostsGuard(req, res, next) {
    const [header = "", second] = hostHeaders(req);
    const host = second === undefined ? parseHost(header) : undefined;
    if (host && allowed.some((known) => matches(known, host))) return next();

    const got = second === undefined ? (header ? quote(header) : "none") : "two of them";
    const message =
      `the request's Host header is not one that this server answers to, got ${got}; call it by a name ` +
      "that its option allowedHosts has, or add this one there";
    sendError(res, { status: 403, type: "invalid_request_error", message });
  };
}

/** All that came: `req.headers` has the first one alone, where somebody in between may have gone by the second. */
function hostHeaders({ rawHeaders }: Request): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === "host");
}

/** Addresses and letters can be spelled in several ways, of which this has one. */
function parseHost(text: string): Host | undefined {
  const { name = "", port } = HOST.exec(text)?.groups ?? {};
  const ascii = domainToASCII(name).replace(/\.$/, "");
  return ascii === "" || Number(port ?? 1) > 65_535 ? undefined : { name: ascii, port };
}

function matches(known: Host, { name, port }: Host): boolean {
  if (name !== known.name) return false;
  return (
    known.port === undefined ||
    (port === undefined ? DEFAULT_PORTS.includes(known.port) : port === known.port)
  );
}
