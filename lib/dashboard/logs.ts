import { once } from "node:events";
import type { Response } from "express";
import { inTime, untilAborted } from "../deadline.js";
import { InternalError, ModelNotLoadedError, MonitorError } from "../errors.js";
import type { Log } from "../log.js";
import { describe, quote } from "../message.js";
import type { ModelRegistry } from "../registry/registry.js";
import { readerGone } from "../response.js";
import { LIVE_HEADERS } from "./live.js";

const HEADERS = {
  "Content-Type": "text/plain; charset=utf-8",
  "X-Content-Type-Options": "nosniff",
  ...LIVE_HEADERS,
};

/** What a registry has of what models print. */
export class LogReader {
  readonly #registry: ModelRegistry;
  readonly #log: Log;
  readonly #timeoutMs: number;

  constructor(registry: ModelRegistry, log: Log, timeoutMs: number) {
    this.#registry = registry;
    this.#log = log;
    this.#timeoutMs = timeoutMs;
  }

  /** Answers with what a model has printed lately. */
  async sendTail(res: Response, name: string): Promise<void> {
    const tail = await this.#ask(name, async () => {
      if (!this.#registry.logs) throw noLogs("logs");
      const timeoutMs = this.#timeoutMs;
      const said = await inTime(
        timeoutMs,
        Promise.resolve(this.#registry.logs(name)),
        () => new Error(`registry.logs() did not answer within ${timeoutMs} ms`),
      );
      if (said !== undefined && typeof said !== "string") {
        throw new TypeError(`registry.logs() returns a string or undefined, got ${describe(said)}`);
      }
      return said;
    });
    res.writeHead(200, { ...HEADERS, "Content-Length": Buffer.byteLength(tail) });
    res.end(tail);
  }

  /** The same, and it goes on until the client leaves, or the registry has it end. */
  async follow(res: Response, name: string): Promise<void> {
    const gone = readerGone(res);
    if (gone.aborted) return;
    const chunks = await this.#ask(name, () => {
      if (!this.#registry.followLogs) throw noLogs("followLogs");
      return this.#registry.followLogs(name, gone)?.[Symbol.asyncIterator]();
    });
    res.writeHead(200, HEADERS);
    res.flushHeaders();
    try {
      if (res.req.method !== "HEAD") await pass(chunks, res, gone);
      res.end();
    } catch (cause) {
      if (!gone.aborted) this.#log.failure(failed(name, cause));
      // What was sent so far can't be taken back: an end like any other would be taken for that of the log.
      res.destroy();
    } finally {
      // It may be waiting for something that it takes no notice of.
      (async () => chunks.return?.())().catch(() => {});
    }
  }

  /** @throws {ModelNotLoadedError} where nothing is known of the model; {InternalError} where the registry fails. */
  async #ask<T>(name: string, ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
    let found: T | undefined;
    try {
      found = await ask();
    } catch (cause) {
      const failure = cause instanceof MonitorError ? cause : failed(name, cause);
      this.#log.failure(failure);
      throw failure;
    }
    if (found === undefined) {
      throw new ModelNotLoadedError(
        `there are no logs of model ${quote(name)}: it is not loaded, nor was it lately`,
      );
    }
    return found;
  }
}

/** At the reader's pace: the next chunk is asked for when there is room for it. */
async function pass(chunks: AsyncIterator<string>, res: Response, gone: AbortSignal): Promise<void> {
  for (;;) {
    const { done, value } = await untilAborted(chunks.next(), gone);
    if (done) return;
    if (typeof value !== "string") {
      throw new TypeError(`registry.followLogs() yields strings, got ${describe(value)}`);
    }
    if (!res.write(value)) await untilAborted(once(res, "drain"), gone);
  }
}

function failed(name: string, cause: unknown): InternalError {
  const message = `the registry failed to tell what model ${quote(name)} has printed; the server's logger is told why`;
  return new InternalError(message, { cause });
}

function noLogs(method: keyof ModelRegistry): MonitorError {
  return new MonitorError(404, "invalid_request_error", `the registry keeps no logs: it has no ${method}()`);
}
