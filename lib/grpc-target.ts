import { isIPv4, isIPv6 } from "node:net";
import type { OptionCheck } from "./options.js";

/**
 * A gRPC target as `@grpc/grpc-js` takes it (https://github.com/grpc/grpc/blob/master/doc/naming.md): gRPC itself tells of
 * one that is none at the first call, and then again at each.
 */
export const grpcTarget: OptionCheck = {
  takes:
    'a gRPC target such as "127.0.0.1:50051", "[::1]:50051", "unix:/run/llama.sock" or "dns:///host:50051"',
  accepts: (value) => typeof value === "string" && isGrpcTarget(value),
};

function isGrpcTarget(target: string): boolean {
  if (/\p{Cc}/u.test(target)) return false;
  const [, scheme, path = target] = /^(unix|dns|ipv4|ipv6):(.*)$/.exec(target) ?? [];
  switch (scheme) {
    case "unix":
      return path !== "" && path !== "//";
    case "ipv4":
      return path.split(",").every((address) => isHostAndPort(address, isIPv4));
    case "ipv6":
      return path.split(",").every((address) => isHostAndPort(address, isIPv6));
    default:
      return isHostAndPort(scheme ? path.replace(/^\/\/[^/]*\//, "") : path, isHost);
  }
}

/** Without a port, gRPC takes 443. An address of IPv6 with one is in brackets. */
function isHostAndPort(text: string, accepts: (host: string) => boolean): boolean {
  if (isIPv6(text)) return accepts(text);
  const [, bracketed, plain = "", port = "443"] =
    /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const isPort = Number(port) > 0 && Number(port) < 65_536;
  return isPort && (bracketed === undefined ? accepts(plain) : isIPv6(bracketed) && accepts(bracketed));
}

function isHost(host: string): boolean {
  return /^[^\s/]+$/.test(host);
}
