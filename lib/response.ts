import type { Response } from "express";
import type { ErrorType } from "./errors.js";

/** The body of every answer that is not a success. */
export interface ErrorAnswer {
  /** What went wrong. */
  error: {
    /** The HTTP status once more. */
    code: number;
    /** What is wrong, and what to send instead; written for a person. */
    message: string;
    /** What is wrong, for a program. */
    type: ErrorType;
  };
}

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
export function sendError(res: Response, status: number, type: ErrorType, message: string): void {
  const answer: ErrorAnswer = { error: { code: status, message, type } };
  sendJson(res, status, answer);
}
