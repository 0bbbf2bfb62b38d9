import { isUtf8 } from "node:buffer";
import express, { type Request, type RequestHandler, type Response } from "express";
import { InvalidRequestError } from "./errors.js";
import { quote } from "./message.js";

/** What a request that names one model may have. */
export const MAX_BODY_BYTES = 16 * 1024;

/**
 * How long a client may go on sending a body that is too large. One that closes its connection after the answer
 * would not get to read it before it has sent all.
 */
const LINGER_MS = 1000;

/** A page of another origin can send forms and plain text unasked, but nothing of these types. */
const JSON_TYPES = ["application/json", "application/*+json"];

/** Reads the JSON body of a request, whether or not the host app has read it already. No body has no members. */
export type BodyReader = (req: Request, res: Response) => Promise<unknown>;

/**
 * Makes a reader of bodies up to a size. It throws an {@link InvalidRequestError} where the body is something else, too large,
 * or can't be decoded.
 */
export function jsonBodyReader(maxBytes: number): BodyReader {
  const parseJson = express.json({
    type: JSON_TYPES,
    limit: maxBytes,
    strict: false,
    // Decoding would put another character in the place of what is not valid, and so make another name of it.
    verify: (_req, _res, body, encoding) => {
      // For Express, signs count for nothing in a charset's name, nor does a year at its end.
      const charset = encoding.replace(/:\d{4}$|[^0-9a-z]/g, "");
      if (charset === "utf8" && !isUtf8(body)) throw new Error("not valid UTF-8");
    },
  });
  return (req, res) => readJsonBody(req, res, parseJson, maxBytes);
}

async function readJsonBody(
  req: Request,
  res: Response,
  parseJson: RequestHandler,
  maxBytes: number,
): Promise<unknown> {
  const contentType = req.headers["content-type"];
  const isJson = req.is(JSON_TYPES);
  if (contentType === undefined || isJson === null) return {};
  // Asked before anything else: a body of another type is not taken even where the host app has parsed it.
  if (isJson === false) {
    throw new InvalidRequestError(
      `a body of type ${quote(contentType)} is not read; send it as application/json`,
    );
  }
  if (req.readableEnded) {
    // The host app has read it already, and may have a larger limit.
    if (lengthOf(req) > maxBytes) throw tooLarge(maxBytes);
    if (Buffer.isBuffer(req.body)) return parseBytes(req.body);
  } else {
    await parse(req, res, parseJson, maxBytes);
  }
  return req.body;
}

/** Express' parser has all of a body sent before it says that it is too large, and that may be without an end. */
function parse(req: Request, res: Response, parseJson: RequestHandler, maxBytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let received = 0;
    let giveUp: NodeJS.Timeout | undefined;
    const expect = (length: number) => {
      if (length > maxBytes) giveUp ??= setTimeout(() => reject(tooLarge(maxBytes)), LINGER_MS);
    };
    const onData = (chunk: Buffer) => {
      received += chunk.length;
      expect(received);
    };
    expect(lengthOf(req));
    req.on("data", onData);
    parseJson(req, res, (error?: unknown) => {
      clearTimeout(giveUp);
      req.off("data", onData);
      if (error) reject(explain(error, maxBytes));
      else resolve();
    });
  });
}

function lengthOf(req: Request): number {
  return Number(req.headers["content-length"]);
}

/** What `express.raw()` makes of a body. */
function parseBytes(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch (cause) {
    throw notJson({ cause });
  }
}

function notJson(options: ErrorOptions): InvalidRequestError {
  return new InvalidRequestError('the body is not valid JSON; send {"model": "NAME"}', 400, options);
}

function tooLarge(maxBytes: number, options?: ErrorOptions): InvalidRequestError {
  return new InvalidRequestError(`the body is larger than ${maxBytes} bytes`, 413, options);
}

/** Express' body parser names what went wrong in `type`. */
function explain(error: unknown, maxBytes: number): unknown {
  const { type, status, charset, encoding } = Object(error) as Record<string, unknown>;
  const options = { cause: error };
  switch (type) {
    case "entity.too.large":
      return tooLarge(maxBytes, options);
    case "charset.unsupported":
      return new InvalidRequestError(
        `charset ${quote(String(charset))} is not read; send UTF-8`,
        415,
        options,
      );
    case "encoding.unsupported":
      return new InvalidRequestError(
        `content coding ${quote(String(encoding))} is not read; send the body as it is, or with gzip`,
        415,
        options,
      );
    case "entity.verify.failed":
      return new InvalidRequestError("the body is not valid UTF-8", 400, options);
    case "entity.parse.failed":
      return notJson(options);
    default:
      return Number(status) < 500 ? new InvalidRequestError("the body can't be read", 400, options) : error;
  }
}
