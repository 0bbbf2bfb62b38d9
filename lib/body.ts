import express, { type Request, type Response } from "express";
import { InvalidRequestError } from "./errors.js";
import { quote } from "./message.js";

const MAX_BODY_BYTES = 16 * 1024;

/** A page of another origin can send forms and plain text unasked, but nothing of these types. */
const JSON_TYPES = ["application/json", "application/*+json"];

const parseJson = express.json({ type: JSON_TYPES, limit: MAX_BODY_BYTES, strict: false });

/**
 * The JSON body of a request, whether or not the host app has read it already. No body has no members.
 *
 * @throws {InvalidRequestError} where the body is something else, too large, or can't be decoded.
 */
export async function readJsonBody(req: Request, res: Response): Promise<unknown> {
  const contentType = req.headers["content-type"];
  if (contentType === undefined) return {};
  // Asked before anything else: a body of another type is not taken even where the host app has parsed it.
  if (!req.is(JSON_TYPES)) {
    throw new InvalidRequestError(
      `a body of type ${quote(contentType)} is not read; send it as application/json`,
    );
  }
  if (!req.readableEnded) {
    await new Promise<void>((resolve, reject) => {
      parseJson(req, res, (error?: unknown) => (error ? reject(explain(error)) : resolve()));
    });
  }
  return req.body;
}

/** Express' body parser names what went wrong in `type`. */
function explain(error: unknown): unknown {
  const { type, status, charset, encoding } = Object(error) as Record<string, unknown>;
  const options = { cause: error };
  switch (type) {
    case "entity.too.large":
      return new InvalidRequestError(`the body is larger than ${MAX_BODY_BYTES} bytes`, 413, options);
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
    case "entity.parse.failed":
      return new InvalidRequestError('the body is not valid JSON; send {"model": "NAME"}', 400, options);
    default:
      return Number(status) < 500 ? new InvalidRequestError("the body can't be read", 400, options) : error;
  }
}
