import { setTimeout as delay } from "node:timers/promises";
import { BackendCallError } from "./backend/client.js";
import { type Connections, callBackend } from "./backend/connections.js";
import { BackendState } from "./backend/status.js";
import { withDeadline } from "./deadline.js";
import {
  asMonitorError,
  BackendError,
  InternalError,
  ModelBusyError,
  ModelNotLoadedError,
  MonitorError,
} from "./errors.js";
import type { Log } from "./log.js";
import { quote } from "./message.js";
import { isSameBackend, type LoadedModel } from "./model.js";
import { TerminateError } from "./process/terminate-error.js";
import { lookUp } from "./registry/look-up.js";
import type { ModelRegistry, RegistryShutdownOptions } from "./registry/registry.js";

const DRAIN_POLL_MS = 100;

/** How much longer than the processes' patience a registry may take: it has to kill them and see them gone. */
const REGISTRY_SHUTDOWN_MARGIN_MS = 10_000;

/** What a shutdown needs of the monitor. */
interface ShutdownContext {
  readonly registry: ModelRegistry;
  readonly connections: Connections;
  readonly log: Log;
  /** The model that is listed under this name. Throws a {@link ModelNotLoadedError} where none is. */
  readonly lookUp: (name: string) => Promise<LoadedModel>;
  /** Called when a model is stopped. */
  readonly forget: (name: string) => void;
  readonly statusTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly freeTimeoutMs: number;
  readonly terminateTimeoutMs: number;
}

/** How many processes a shutdown has ended so far; absent where the registry does not tell. */
interface Toll {
  processes?: number | undefined;
}

interface Shutdown {
  readonly done: Promise<void>;
  /** Skips what is left of the waiting. */
  readonly hurry: AbortController;
}

/** The shutdowns of all models: drain, free, terminate; one at a time for each. */
export class Shutdowns {
  readonly #context: ShutdownContext;
  readonly #underWay = new Map<string, Shutdown>();

  constructor(context: ShutdownContext) {
    this.#context = context;
  }

  /** See `BackendMonitor.shutdown`. */
  shutDown(name: string, force: boolean): Promise<void> {
    let shutdown = this.#underWay.get(name);
    if (!shutdown) {
      const hurry = new AbortController();
      if (force) hurry.abort();
      const done = this.#logged(name, hurry.signal).finally(() => this.#underWay.delete(name));
      shutdown = { done, hurry };
      this.#underWay.set(name, shutdown);
    } else if (force) {
      shutdown.hurry.abort();
    }
    return shutdown.done;
  }

  async #logged(name: string, hurry: AbortSignal): Promise<void> {
    const { log } = this.#context;
    const startedAt = performance.now();
    const toll: Toll = {};
    try {
      await this.#stop(name, hurry, toll);
      log.stopped(name, startedAt, toll.processes);
    } catch (error) {
      const failure = asMonitorError(error);
      log.notStopped(name, startedAt, toll.processes, failure);
      throw failure;
    }
  }

  async #stop(name: string, hurry: AbortSignal, toll: Toll): Promise<void> {
    const model = await this.#drain(name, hurry).catch(async (error) => {
      if (error instanceof ModelNotLoadedError) await this.#cancelStart(name, hurry.aborted, toll);
      throw error;
    });
    await this.#free(name, model, hurry);
    await this.#terminate(name, model, hurry.aborted, toll);
    this.#context.forget(name);
  }

  /** Waits until the model is idle, or until there is a hurry. */
  async #drain(name: string, hurry: AbortSignal): Promise<LoadedModel> {
    const deadline = performance.now() + this.#context.drainTimeoutMs;
    let isBusy = false;
    for (;;) {
      const model = await this.#context.lookUp(name);
      if (hurry.aborted) return model;
      isBusy = await this.#isBusy(name, model, isBusy, hurry);
      if (!isBusy || hurry.aborted) return model;

      const remainingMs = deadline - performance.now();
      if (remainingMs <= 0) {
        throw new ModelBusyError(
          `model ${quote(name)} is still busy after ${this.#context.drainTimeoutMs} ms and was not stopped; ` +
            'try again later, or send "force": true to stop it all the same',
        );
      }
      await delay(Math.min(DRAIN_POLL_MS, remainingMs), undefined, { signal: hurry }).catch(() => {});
    }
  }

  /** A backend that does not answer is what it was: busy where it said so before, otherwise not known to be. */
  async #isBusy(name: string, model: LoadedModel, wasBusy: boolean, hurry: AbortSignal): Promise<boolean> {
    if (model.busy) return true;
    try {
      const { connections, statusTimeoutMs } = this.#context;
      const client = connections.open(name, model);
      const { state } = await callBackend(statusTimeoutMs, (signal) => client.status(signal), hurry);
      return state === BackendState.BUSY;
    } catch (error) {
      return wasBusy && BackendCallError.from(error).code === "DEADLINE_EXCEEDED";
    }
  }

  /** Best effort: a backend that has no `Free`, or fails in it, is stopped all the same. */
  async #free(name: string, model: LoadedModel, hurry: AbortSignal): Promise<void> {
    if (hurry.aborted) return;
    try {
      const client = this.#context.connections.open(name, model);
      await callBackend(this.#context.freeTimeoutMs, (signal) => client.free(signal), hurry);
    } catch {
      // The process is stopped next, and gives back all that it holds.
    }
  }

  async #terminate(name: string, model: LoadedModel, force: boolean, toll: Toll): Promise<void> {
    await this.#haveStopped(name, force, toll, (options) => this.#context.registry.shutdown(name, options));
    const listed = await lookUp(this.#context.registry, name, this.#context.statusTimeoutMs);
    if (listed && isSameBackend(listed, model)) {
      throw new InternalError(
        `the registry says that model ${quote(name)} is stopped, but still lists it; its shutdown() has to end ` +
          "the process and take the model off the list",
      );
    }
  }

  /** A model that is not listed may be about to be. Whoever asked for its shutdown does not want that. */
  async #cancelStart(name: string, force: boolean, toll: Toll): Promise<void> {
    const { registry } = this.#context;
    await this.#haveStopped(name, force, toll, (options) => registry.cancelStart?.(name, options));
    // Most of the time there was no start to cancel.
    toll.processes ||= undefined;
  }

  async #haveStopped(
    name: string,
    force: boolean,
    toll: Toll,
    stop: (options: RegistryShutdownOptions) => unknown,
  ): Promise<void> {
    const timeoutMs = this.#context.terminateTimeoutMs;
    try {
      const ended = await withDeadline(
        timeoutMs + REGISTRY_SHUTDOWN_MARGIN_MS,
        (signal) => stop({ force, timeoutMs, signal }),
        () => new BackendError(`model ${quote(name)} could not be stopped in time; it may still be running`),
      );
      if (isCount(ended)) toll.processes = ended;
    } catch (cause) {
      if (cause instanceof MonitorError) throw cause;
      if (cause instanceof TerminateError) {
        toll.processes = cause.ended;
        throw new BackendError(`model ${quote(name)} could not be stopped; ${cause.message}`, { cause });
      }
      const message = `the registry failed to stop model ${quote(name)}; the server's logger is told why`;
      throw new InternalError(message, { cause });
    }
  }
}

/** A host's own registry may return anything. */
function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
