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

/** What a shutdown is at: waiting for the model to be idle, in the backend's `Free`, or ending its processes. */
export type ShutdownPhase = "draining" | "freeing" | "terminating";

/** How far a shutdown has come. */
export interface ShutdownProgress {
  /** The model's name. It may be any that a client sent, where none of that name is loaded. */
  readonly name: string;
  /** What it is at now, or how it ended. */
  readonly phase: ShutdownPhase | "stopped" | "failed";
  /** How long it has taken so far, in milliseconds. */
  readonly durationMs: number;
  /** How many processes it has ended; absent until then, and where the registry does not tell. */
  readonly processes?: number | undefined;
  /** Why it failed, where it did. */
  readonly error?: MonitorError | undefined;
}

/** What a shutdown needs of the monitor. */
interface ShutdownContext {
  readonly registry: ModelRegistry;
  readonly connections: Connections;
  readonly log: Log;
  /** The model that is listed under this name. Throws a {@link ModelNotLoadedError} where none is. */
  readonly lookUp: (name: string) => Promise<LoadedModel>;
  /** Called when a model is stopped. */
  readonly forget: (name: string) => void;
  /** Told of each phase, and of the end. */
  readonly progress: (progress: ShutdownProgress) => void;
  readonly statusTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly freeTimeoutMs: number;
  readonly terminateTimeoutMs: number;
}

interface Shutdown {
  readonly name: string;
  readonly startedAt: number;
  /** Skips what is left of the waiting. */
  readonly hurry: AbortController;
  /** Absent until the model is known to be loaded. */
  phase?: ShutdownPhase | undefined;
  /** How many processes it has ended so far; absent where the registry does not tell. */
  processes?: number | undefined;
}

/** The shutdowns of all models: drain, free, terminate; one at a time for each. */
export class Shutdowns {
  readonly #context: ShutdownContext;
  readonly #underWay = new Map<string, Shutdown & { readonly done: Promise<void> }>();

  constructor(context: ShutdownContext) {
    this.#context = context;
  }

  /** See `BackendMonitor.shutdown`. */
  shutDown(name: string, force: boolean): Promise<void> {
    const underWay = this.#underWay.get(name);
    if (underWay) {
      if (force) underWay.hurry.abort();
      return underWay.done;
    }
    const shutdown: Shutdown = { name, startedAt: performance.now(), hurry: new AbortController() };
    if (force) shutdown.hurry.abort();
    const done = this.#told(shutdown).finally(() => this.#underWay.delete(name));
    this.#underWay.set(name, Object.assign(shutdown, { done }));
    return done;
  }

  /** What the shutdown of a model is at; `undefined` where none is under way. */
  phase(name: string): ShutdownPhase | undefined {
    return this.#underWay.get(name)?.phase;
  }

  async #told(shutdown: Shutdown): Promise<void> {
    const { log } = this.#context;
    const { name, startedAt } = shutdown;
    try {
      await this.#stop(shutdown);
      log.stopped(name, startedAt, shutdown.processes);
      this.#tell(shutdown, "stopped");
    } catch (error) {
      const failure = asMonitorError(error);
      log.notStopped(name, startedAt, shutdown.processes, failure);
      this.#tell(shutdown, "failed", failure);
      throw failure;
    }
  }

  #enter(shutdown: Shutdown, phase: ShutdownPhase): void {
    if (shutdown.phase === phase) return;
    shutdown.phase = phase;
    this.#tell(shutdown, phase);
  }

  #tell(
    { name, startedAt, processes }: Shutdown,
    phase: ShutdownProgress["phase"],
    error?: MonitorError,
  ): void {
    this.#context.progress({ name, phase, durationMs: performance.now() - startedAt, processes, error });
  }

  async #stop(shutdown: Shutdown): Promise<void> {
    const model = await this.#drain(shutdown).catch(async (error) => {
      if (error instanceof ModelNotLoadedError) await this.#cancelStart(shutdown);
      throw error;
    });
    await this.#free(shutdown, model);
    await this.#terminate(shutdown, model);
    this.#context.forget(shutdown.name);
  }

  /** Waits until the model is idle, or until there is a hurry. */
  async #drain(shutdown: Shutdown): Promise<LoadedModel> {
    const { name } = shutdown;
    const hurry = shutdown.hurry.signal;
    const deadline = performance.now() + this.#context.drainTimeoutMs;
    let isBusy = false;
    for (;;) {
      const model = await this.#context.lookUp(name);
      if (hurry.aborted) return model;
      this.#enter(shutdown, "draining");
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
  async #free(shutdown: Shutdown, model: LoadedModel): Promise<void> {
    const hurry = shutdown.hurry.signal;
    if (hurry.aborted) return;
    this.#enter(shutdown, "freeing");
    try {
      const client = this.#context.connections.open(shutdown.name, model);
      await callBackend(this.#context.freeTimeoutMs, (signal) => client.free(signal), hurry);
    } catch {
      // The process is stopped next, and gives back all that it holds.
    }
  }

  async #terminate(shutdown: Shutdown, model: LoadedModel): Promise<void> {
    const { name } = shutdown;
    this.#enter(shutdown, "terminating");
    await this.#haveStopped(shutdown, (options) => this.#context.registry.shutdown(name, options));
    const listed = await lookUp(this.#context.registry, name, this.#context.statusTimeoutMs);
    if (listed && isSameBackend(listed, model)) {
      throw new InternalError(
        `the registry says that model ${quote(name)} is stopped, but still lists it; its shutdown() has to end ` +
          "the process and take the model off the list",
      );
    }
  }

  /** A model that is not listed may be about to be. Whoever asked for its shutdown does not want that. */
  async #cancelStart(shutdown: Shutdown): Promise<void> {
    const { registry } = this.#context;
    await this.#haveStopped(shutdown, (options) => registry.cancelStart?.(shutdown.name, options));
    // Most of the time there was no start to cancel.
    shutdown.processes ||= undefined;
  }

  async #haveStopped(shutdown: Shutdown, stop: (options: RegistryShutdownOptions) => unknown): Promise<void> {
    const { name, hurry } = shutdown;
    const force = hurry.signal.aborted;
    const timeoutMs = this.#context.terminateTimeoutMs;
    try {
      const ended = await withDeadline(
        timeoutMs + REGISTRY_SHUTDOWN_MARGIN_MS,
        (signal) => stop({ force, timeoutMs, signal }),
        () => new BackendError(`model ${quote(name)} could not be stopped in time; it may still be running`),
      );
      if (isCount(ended)) shutdown.processes = ended;
    } catch (cause) {
      if (cause instanceof MonitorError) throw cause;
      if (cause instanceof TerminateError) {
        shutdown.processes = cause.ended;
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
