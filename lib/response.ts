import type { Response } from "express";
import { errorAnswer, type MonitorError } from "./errors.js";

/**
 * JSON in which a `bigint` is a number, with all of its digits. `JSON.stringify` refuses it, and turning it into a
 * `number` first would round what is over 2⁵³.
 */
export function toJson(value: unknown): string {
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return `[${value.map(toJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${toJson(member)}`).join(",")}}`;
}

/** The same answer goes to all who asked at the same time, one after another in one turn of the event loop. */
let last: { readonly answer: object; readonly text: string } | undefined;

function textOf(answer: object): string {
  if (last?.answer === answer) return last.text;
  const text = toJson(answer);
  last = { answer, text };
  setImmediate(() => {
    last = undefined;
  });
  return text;
}

/**
 * Ends a response with JSON. Not with `res.json()`: an `ETag` and a `304` have no place in an answer that is
 * never to be stored.
 */
export function sendJson(res: Response, status: number, body: object): void {
  if (res.headersSent) return;
  const json = textOf(body);
  res.statusCode = status;
  res.setHeader("Content-Type", "application/json; charset=utf-8");
  res.setHeader("Cache-Control", "no-store");
  res.setHeader("Content-Length", Buffer.byteLength(json));
  res.end(json);
}

/** Ends a response with an error. */
export function sendError(res: Response, error: Pick<MonitorError, "status" | "type" | "message">): void {
  sendJson(res, error.status, errorAnswer(error));
}

/** Aborted once nobody reads a response any more. That may have been so before it began. */
export function readerGone(res: Response): AbortSignal {
  const controller = new AbortController();
  if (res.destroyed) controller.abort();
  else res.once("close", () => controller.abort());
  return controller.signal;
}
