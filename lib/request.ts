import { Ajv, type ErrorObject } from "ajv";
import { InvalidRequestError } from "./errors.js";
import { describe } from "./message.js";
import { MAX_NAME_LENGTH } from "./model.js";

/** What a request names: the model, and for a shutdown whether to do without waiting for it. */
export interface ModelRequest {
  model: string;
  force: boolean;
}

/**
 * Ajv counts characters by code point: "🦙" is one. The pattern is `\P{Cc}` spelled out: the schema is published, and Swagger
 * UI does not take that for what it is.
 */
export const MODEL_NAME = {
  type: "string",
  minLength: 1,
  maxLength: MAX_NAME_LENGTH,
  pattern: "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
} as const;

/** The schemas are right: to have Ajv check them against that of a schema takes longer than to compile them. */
export const ajv = new Ajv({ ownProperties: true, verbose: true, meta: false, validateSchema: false });

export const MONITOR_REQUEST = { type: "object", required: ["model"], properties: { model: MODEL_NAME } };

export const SHUTDOWN_REQUEST = {
  type: "object",
  required: ["model"],
  properties: { model: MODEL_NAME, force: { type: "boolean" } },
};

/** Reads requests. Made once a router: to compile the schemas takes longer than an import should. */
export class RequestReader {
  readonly #isMonitorRequest = ajv.compile<{ model: string }>(MONITOR_REQUEST);
  readonly #isShutdownRequest = ajv.compile<{ model: string; force?: boolean }>(SHUTDOWN_REQUEST);

  /**
   * What the query of a monitor request names; `undefined` where it does not have `model`.
   *
   * @throws {InvalidRequestError} where the name is not valid, or given twice.
   */
  monitorQuery(url: string): ModelRequest | undefined {
    const model = inQuery(url, "model");
    return model === undefined ? undefined : this.monitorBody({ model });
  }

  /** @throws {InvalidRequestError} where the body does not name a model as it should. */
  monitorBody(body: unknown): ModelRequest {
    const isValid = this.#isMonitorRequest;
    if (!isValid(body)) throw new InvalidRequestError(explain(isValid.errors, MONITOR_HINT));
    return { model: body.model, force: false };
  }

  /** @throws {InvalidRequestError} where the body does not name a model as it should, or `force` is no boolean. */
  shutdownBody(body: unknown): ModelRequest {
    const isValid = this.#isShutdownRequest;
    if (!isValid(body)) throw new InvalidRequestError(explain(isValid.errors, SHUTDOWN_HINT));
    return { model: body.model, force: body.force ?? false };
  }
}

const MONITOR_HINT = 'send ?model=NAME, or {"model": "NAME"} as application/json';
const SHUTDOWN_HINT = 'send {"model": "NAME"} as application/json';

/**
 * What the query has for one of its members; `undefined` where it does not have it.
 *
 * Express' own `req.query` is not used: what it holds depends on the host's setting `query parser`, which turns
 * `?model[a]=b` into an object, or all queries into nothing.
 *
 * @throws {InvalidRequestError} where it has it twice, or can't be decoded.
 */
export function inQuery(url: string, member: "model" | "follow"): string | undefined {
  const query = url.includes("?") ? url.slice(url.indexOf("?") + 1) : "";
  const given = query.split("&").filter((pair) => isOf(member, pair));
  const [pair, second] = given;
  if (pair === undefined) return undefined;
  if (second !== undefined) {
    throw new InvalidRequestError(`the query has "${member}" ${given.length} times; send it once`);
  }
  if (isPlain(pair)) return pair.slice(`${member}=`.length);
  if (!isUtf8(pair)) {
    throw new InvalidRequestError(`"${member}" in the query is not valid UTF-8; percent-encode it as UTF-8`);
  }
  return decode(pair).get(member) ?? "";
}

/** What is wrong, what was got, and what to send instead. */
export function explain(errors: ErrorObject[] | null | undefined, hint: string): string {
  const error = errors?.[0];
  const member = error?.instancePath.slice(1).replace(/\/(\d+)$/, "[$1]");
  const name = member?.endsWith("]") ? `"${member}"` : "the model's name";
  const got = describe(error?.data);
  switch (error?.keyword) {
    case "required":
      return `the model is missing; ${hint}`;
    case "type":
      return member
        ? `"${member}" must be ${error.params.type === "array" ? "an" : "a"} ${error.params.type}, got ${got}`
        : `got no model but ${got}; ${hint}`;
    case "minLength":
      return `${name} is empty; ${hint}`;
    case "maxLength":
      return `${name} is longer than ${MAX_NAME_LENGTH} characters`;
    default:
      return `${name} has control characters, got ${got}`;
  }
}

function isOf(member: string, pair: string): boolean {
  return pair.startsWith(`${member}=`) || pair === member || (pair.includes("%") && decode(pair).has(member));
}

/** Most names are what they are without being decoded. */
function isPlain(pair: string): boolean {
  return /^\w+=[\w.:/-]*$/.test(pair);
}

/** A question mark at the start would be taken off, so that one is put there: a name may start with one. */
function decode(pair: string): URLSearchParams {
  return new URLSearchParams(`?${pair}`);
}

function isUtf8(encoded: string): boolean {
  try {
    // A "%" that starts no escape stands for itself, as URLSearchParams has it.
    decodeURIComponent(encoded.replace(/%(?![0-9a-fA-F]{2})/g, "%25"));
    return true;
  } catch {
    return false;
  }
}
