import { inspect } from "node:util";
import type { BackendCallError } from "./backend/client.js";
import type { MonitorError } from "./errors.js";
import { detail, printable, quote } from "./message.js";
import { isSameBackend, type LoadedModel } from "./model.js";

/** Where the monitor tells what it did: `console`, pino and winston are such loggers as they are. */
export interface Logger {
  /** Told of each shutdown, and of the first time that a model is monitored by the operating system, and why. */
  info(message: string): unknown;
  /** Told of each `backend_error` and `internal_error`, with its cause and stack. */
  error(message: string): unknown;
}

/** Why models are monitored by the operating system, as far as that has been told. */
interface Told {
  readonly model: LoadedModel;
  readonly codes: Set<string>;
}

/** What the host is told, in its own logger. Without one, this is silence. */
export class Log {
  readonly #logger: Logger | undefined;
  readonly #told = new Map<string, Told>();

  constructor(logger: Logger | undefined) {
    this.#logger = logger;
  }

  /** Told once for each reason of a backend, and not at each poll. */
  fallback(name: string, model: LoadedModel, failure: BackendCallError | undefined): void {
    if (!this.#logger) return;
    const code = failure?.code ?? "OK";
    const reason = failure
      ? `its Status call failed: ${code}: ${failure.message}`
      : "its Status reports no memory";
    let told = this.#told.get(name);
    if (!told || !isSameBackend(told.model, model)) {
      told = { model, codes: new Set() };
      this.#told.set(name, told);
    }
    if (told.codes.has(code)) return;
    told.codes.add(code);
    this.#write("info", `model ${quote(name)} is monitored by the operating system, as ${detail(reason)}`);
  }

  /** Told once for each shutdown, however many asked for it. */
  stopped(name: string, startedAt: number, processes: number | undefined): void {
    if (this.#logger) this.#write("info", outcomeOf(name, "stopped", startedAt, processes));
  }

  /** The same for one that came to nothing. */
  notStopped(name: string, startedAt: number, processes: number | undefined, failure: MonitorError): void {
    if (!this.#logger) return;
    const outcome = outcomeOf(name, failure.type, startedAt, processes);
    if (isOurs(failure)) this.#write("error", `${outcome}: ${show(failure)}`);
    else this.#write("info", `${outcome}: ${failure.message}`);
  }

  /** What is a client's mistake, it is told itself. */
  failure(failure: MonitorError): void {
    if (this.#logger && isOurs(failure)) this.#write("error", show(failure));
  }

  forget(name: string): void {
    this.#told.delete(name);
  }

  /** In `message` is what others said: no line of theirs is to begin where those of the log do. */
  async #write(level: keyof Logger, message: string): Promise<void> {
    const text = printable(message).replaceAll("\n", "\n    ");
    try {
      await this.#logger?.[level](`express-backend-monitor: ${text}`);
    } catch {
      // Whoever made the request has their answer: a logger that fails is not to bring the server down.
    }
  }
}

function isOurs({ type }: MonitorError): boolean {
  return type === "backend_error" || type === "internal_error";
}

function outcomeOf(name: string, outcome: string, startedAt: number, processes: number | undefined): string {
  const durationMs = Math.round(performance.now() - startedAt);
  const ended = processes === undefined ? "" : `, ${processes} process${processes === 1 ? "" : "es"} ended`;
  return `shutdown of model ${quote(name)}: ${outcome} after ${durationMs} ms${ended}`;
}

/** What a registry threw may throw again when it is looked at. */
function show(failure: MonitorError): string {
  try {
    return inspect(failure);
  } catch {
    return String(failure.stack);
  }
}
