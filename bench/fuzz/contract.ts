import assert from "node:assert/strict";
import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import { classify } from "./answers.js";
import { REPORT } from "./backend.js";
import type { Answer } from "./exchange.js";
import type { Seen } from "./host.js";
import { kinds } from "./models.js";
import {
  type Body,
  declaredBytes,
  type FuzzRequest,
  MAX_BODY_BYTES,
  MONITOR_PATHS,
  render,
  SHUTDOWN_PATHS,
} from "./requests.js";

/** What is to come of a request. */
interface Expected {
  /** In the words of `classify`, any of these. */
  answers: string[];
  /** The one model that is looked up; none where the request is refused. */
  model?: string;
  stopped?: { name: string; force: boolean }[];
}

/** Something that was sent: as it is to be read, or the statuses that may say what is wrong with it. */
type Read<T> = { value: T } | { refusedWith: number[] } | "unclear";

/** Node takes no more for the lines before the body. */
const MAX_HEAD_BYTES = 15_000;

/**
 * CONTRACT.md's rules for a request, written down a second time. Throws where an answer is not what they want, and
 * returns what it is.
 */
export function check(request: FuzzRequest, answer: Answer | undefined, seen: Seen): string {
  const { method, host, body } = request;
  const what = classify(answer, method === "HEAD");
  // Node may find what comes after a body that is too long before there is an answer, and takes it for another request.
  if (isOdd(request) || (body?.framing === "short" && what === "400 Node")) return what;

  const bodyRead = readBody(body);
  const isHostsToRefuse =
    host === "parses all itself" && (bodyRead === "unclear" || "refusedWith" in bodyRead);
  if (isHostsToRefuse && what === "400 host") return what;
  const isTakenFromHost = isHostsToRefuse && !isRefusedAfterHost(body);
  const expected = isTakenFromHost ? undefined : expect(request, bodyRead);
  if (!expected) {
    assert.doesNotMatch(what, / Node$|^no answer$|^400 host$/);
    return what;
  }
  assert(expected.answers.includes(what), `${what} instead of ${expected.answers.join(" or ")}`);
  assert.deepEqual([...new Set(seen.looked)], expected.model === undefined ? [] : [expected.model]);
  assert.deepEqual(seen.stopped, expected.stopped ?? []);
  assert.equal(seen.hostError, undefined);
  if (method !== "HEAD") assert.equal(seen.logged.length, /backend_error|internal_error/.test(what) ? 1 : 0);
  if (what.startsWith("405")) {
    assert.deepEqual(answer?.headers.allow, [isMonitor(request) ? "GET, HEAD" : "POST"]);
  }
  if (what === "200 reported") assert.equal(answer?.body, REPORT.json);
  return what;
}

/** Node may refuse it, or take something else for its body: any answer will do, but one it must be. */
function isOdd(request: FuzzRequest): boolean {
  const isCutOff = request.body?.framing === "long" || request.body?.framing === "bad chunks";
  return (
    request.odd !== undefined || isCutOff || render({ ...request, body: undefined }).length > MAX_HEAD_BYTES
  );
}

/** Whatever a host makes of such a body: it may decode it in another way than the router, but not change these. */
function isRefusedAfterHost(body: Body | undefined): boolean {
  const isTooLong = body?.framing === "length" && !body.coding && body.bytes.length > MAX_BODY_BYTES;
  return body?.type?.is === "other" || isTooLong;
}

function pathOf({ path }: FuzzRequest): string {
  return path.replace("http://h.example:1", "");
}

function isMonitor(request: FuzzRequest): boolean {
  return MONITOR_PATHS.includes(pathOf(request));
}

function expect(request: FuzzRequest, bodyRead: Read<unknown>): Expected | undefined {
  const { host, method, query, authorization } = request;
  const isOurs = isMonitor(request) || SHUTDOWN_PATHS.includes(pathOf(request));
  if (!isOurs || method === "OPTIONS") return { answers: ["404 host"] };
  const expected = expectOfRoute();
  // What an answer to HEAD would say is not seen.
  if (method !== "HEAD" || !expected) return expected;
  return { ...expected, answers: expected.answers.map((answer) => `${answer.slice(0, 3)} HEAD`) };

  function expectOfRoute(): Expected | undefined {
    if (host === "guarded" && !authorization?.passes) return refused([401]);
    if (!(isMonitor(request) ? ["GET", "HEAD"] : ["POST"]).includes(method)) return refused([405]);
    const model = isMonitor(request) ? (readQuery(query) ?? readModel(bodyRead)) : readModel(bodyRead);
    if (model === "unclear") return undefined;
    if ("refusedWith" in model) return refused(model.refusedWith);
    if (isMonitor(request)) return { answers: [ofMonitor(model.value)], model: model.value };
    const force = readForce(bodyRead);
    if (force === "unclear") return undefined;
    return "refusedWith" in force ? refused(force.refusedWith) : ofShutdown(model.value, force.value);
  }
}

function refused(statuses: number[]): Expected {
  return { answers: statuses.map((status) => `${status} invalid_request_error`) };
}

function ofMonitor(model: string): string {
  switch (kinds.get(model)) {
    case undefined:
      return "500 model_not_loaded";
    case "failing":
      return "500 internal_error";
    case "lost":
      return "500 backend_error";
    case "bare":
      return "200 fallback";
    default:
      return "200 reported";
  }
}

function ofShutdown(model: string, force: boolean): Expected {
  const stopped = [{ name: model, force }];
  const kind = kinds.get(model);
  if (kind === undefined) return { answers: ["500 model_not_loaded"], model };
  if (kind === "failing") return { answers: ["500 internal_error"], model };
  if (kind === "busy" && !force) return { answers: ["500 model_busy"], model };
  return { answers: [kind === "stuck" ? "500 backend_error" : "200 stopped"], model, stopped };
}

/** `undefined` where the query has no model. */
function readQuery(query: string): Read<string> | undefined {
  const models = query
    .slice(1)
    .split("&")
    .map((pair) => pair.split(/=(.*)/s))
    .filter(([name = ""]) => percentDecode(name).toString() === "model");
  if (models.length === 0) return undefined;
  const value = decodeText(percentDecode(models[0]?.[1] ?? ""), "utf-8", true);
  return models.length > 1 || value === undefined ? { refusedWith: [400] } : readName(value);
}

function percentDecode(text: string): Buffer {
  return Buffer.from(
    text
      .replaceAll("+", " ")
      .replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
    "latin1",
  );
}

function readName(name: unknown): Read<string> {
  const isName = typeof name === "string" && !/\p{Cc}/u.test(name) && [...name].length <= 512 && name !== "";
  return isName ? { value: name } : { refusedWith: [400] };
}

function readModel(read: Read<unknown>): Read<string> {
  if (read === "unclear" || "refusedWith" in read) return read;
  return readName(member(read.value, "model"));
}

function readForce(read: Read<unknown>): Read<boolean> {
  if (read === "unclear" || "refusedWith" in read) return read;
  const force = member(read.value, "force") ?? false;
  const isNull = member(read.value, "force") === null;
  return typeof force === "boolean" && !isNull ? { value: force } : { refusedWith: [400] };
}

function member(value: unknown, name: string): unknown {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function readBody(body: Body | undefined): Read<unknown> {
  if (!body?.type) return { value: {} };
  const { type, coding } = body;
  if (type.is === "unclear" || type.charset === "unclear" || coding?.is === "unclear") {
    return type.is === "other" ? { refusedWith: [400] } : "unclear";
  }
  const bytes = declaredBytes(body);
  const plain = decompress(bytes, coding?.value.toLowerCase());
  const breaches = [
    type.charset === "unsupported" || coding?.is === "unsupported" ? [415] : [],
    // It may get too large before it turns out to be broken.
    plain === undefined ? [400, 413] : [],
    plain && plain.length > MAX_BODY_BYTES ? [413] : [],
  ].flat();
  if (breaches.length > 0) return { refusedWith: breaches };
  const text = plain && decodeText(plain, type.charset);
  if (text === "") return { value: {} };
  return (text !== undefined && parseJson(text)) || { refusedWith: [400] };
}

function decompress(bytes: Uint8Array, coding: string | undefined): Uint8Array | undefined {
  try {
    switch (coding) {
      case "gzip":
        return gunzipSync(bytes);
      case "deflate":
        return inflateSync(bytes);
      case "br":
        return brotliDecompressSync(bytes);
      default:
        return bytes;
    }
  } catch {
    return undefined;
  }
}

function decodeText(bytes: Uint8Array, charset: string, ignoreBOM = false): string | undefined {
  try {
    return new TextDecoder(charset, { fatal: charset === "utf-8", ignoreBOM }).decode(bytes);
  } catch {
    return undefined;
  }
}

function parseJson(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}
