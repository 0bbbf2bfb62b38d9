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

// The schemas are right: to have Ajv check them against that of a schema takes longer than to compile them.
const ajv = new Ajv({ ownProperties: true, verbose: true, meta: false, validateSchema: false });

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
   * Express' own `req.query` is not used: what it holds depends on the host's setting `query parser`, which turns
   * `?model[a]=b` into an object, or all queries into nothing.
   *
   * @throws {InvalidRequestError} where the name is not valid, or given twice.
   */
  monitorQuery(url: string): ModelRequest | undefined {
    const query = url.includes("?") ? url.slice(url.indexOf("?") + 1) : "";
    const given = query.split("&").filter(namesModel);
    const [pair, second] = given;
    if (pair === undefined) return undefined;
    if (second !== undefined) {
      throw new InvalidRequestError(`the query has "model" ${given.length} times; send it once`);
    }
    if (isPlain(pair)) return this.monitorBody({ model: pair.slice("model=".length) });
    if (!isUtf8(pair)) {
      throw new InvalidRequestError(
        "the model's name in the query is not valid UTF-8; percent-encode it as UTF-8",
      );
    }
    return this.monitorBody({ model: decode(pair).get("model") });
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

/** What is wrong, what was got, and what to send instead. */
function explain(errors: ErrorObject[] | null | undefined, hint: string): string {
  const error = errors?.[0];
  const member = error?.instancePath.slice(1);
  const got = describe(error?.data);
  switch (error?.keyword) {
    case "required":
      return `the model is missing; ${hint}`;
    case "type":
      return member
        ? `"${member}" must be a ${error.params.type}, got ${got}`
        : `got no model but ${got}; ${hint}`;
    case "minLength":
      return `the model's name is empty; ${hint}`;
    case "maxLength":
      return `the model's name is longer than ${MAX_NAME_LENGTH} characters`;
    default:
      return `the model's name has control characters, got ${got}`;
  }
}

function namesModel(pair: string): boolean {
  return /^model(=|$)/.test(pair) || (pair.includes("%") && decode(pair).has("model"));
}

/** Most names are what they are without being decoded. */
function isPlain(pair: string): boolean {
  return /^model=[\w.:/-]*$/.test(pair);
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
