import type { Response } from "express";
import { LIVE_HEADERS } from "./live.js";

/** How long a browser waits before it comes back. */
const RETRY_MS = 1_000;

/** What may wait for a viewer that reads slowly, before it is dropped. */
const MAX_WAITING_BYTES = 1024 ** 2;

const HEADERS = { "Content-Type": "text/event-stream; charset=utf-8", ...LIVE_HEADERS };

/** An event as it is sent. JSON has no line breaks, so that `json` is one line. */
export function eventText(id: string, event: string, json: string): string {
  return `id: ${id}\nevent: ${event}\ndata: ${json}\n\n`;
}

/** Begins a response that is a stream of events. */
export function beginStream(res: Response): Response {
  res.writeHead(200, HEADERS);
  res.flushHeaders();
  return res;
}

/** One viewer of the events. */
export class EventStream {
  readonly #res: Response;

  constructor(res: Response) {
    this.#res = res;
    beginStream(res);
    this.write(Buffer.from(`retry: ${RETRY_MS}\n\n`));
  }

  /** A viewer that reads too slowly is dropped instead: when it comes back, it says what it had last. */
  write(events: Buffer): void {
    if (this.#res.destroyed || this.#res.writableEnded) return;
    if (this.#res.writableLength > MAX_WAITING_BYTES) this.#res.destroy();
    else this.#res.write(events);
  }
}
