import { setTimeout as delay } from "node:timers/promises";
import { inspect } from "node:util";
import { BackendCallError, type BackendClientFactory, grpcBackendClient } from "./backend/client.js";
import { Connections } from "./backend/connections.js";
import { BackendState, type BackendStatus, type MemoryUsage } from "./backend/messages.js";
import { withDeadline } from "./deadline.js";
import { BackendError, InternalError, ModelBusyError, ModelNotLoadedError, MonitorError } from "./errors.js";
import { detail, quote } from "./message.js";
import {
  aFunction,
  checkOptions,
  milliseconds,
  nonEmptyString,
  type OptionCheck,
  objectWith,
  processId,
  required,
} from "./options.js";
import { type ProcessSample, sampleProcess } from "./process/stats.js";
import { DEFAULT_TERMINATE_TIMEOUT_MS, TerminateError } from "./process/terminate.js";
import type { LoadedModel, ModelRegistry } from "./registry/registry.js";
import type { MonitorAnswer } from "./response.js";

export interface BackendMonitorOptions {
  /** Knows which models are loaded and how to stop them. */
  registry: ModelRegistry;
  /** Makes the client for a model's backend. Default: `grpcBackendClient()`. */
  createClient?: BackendClientFactory | undefined;
  /** How long a backend may take to answer the monitor, in milliseconds. Default 2,000. */
  statusTimeoutMs?: number | undefined;
  /** How long a shutdown waits for a busy model, in milliseconds. Default 30,000. */
  drainTimeoutMs?: number | undefined;
  /** How long a backend may take for `Free` before its process is stopped, in milliseconds. Default 5,000. */
  freeTimeoutMs?: number | undefined;
  /** How long its processes may take to end by themselves before they are killed, in milliseconds. Default 10,000. */
  terminateTimeoutMs?: number | undefined;
}

export interface ShutdownOptions {
  /** Neither wait for the model to be idle nor call `Free`. Default false. */
  force?: boolean | undefined;
}

const DEFAULT_STATUS_TIMEOUT_MS = 2_000;
const DEFAULT_DRAIN_TIMEOUT_MS = 30_000;
const DEFAULT_FREE_TIMEOUT_MS = 5_000;

const DRAIN_POLL_MS = 100;

/** How much longer than the processes' patience a registry may take: it has to kill them and see them gone. */
const REGISTRY_SHUTDOWN_MARGIN_MS = 10_000;

/** Forgetting models that are gone is put off until there are twice as many as were left the last time. */
const FIRST_PRUNE_AT = 32;

interface Shutdown {
  readonly done: Promise<void>;
  /** Skips what is left of the waiting. */
  readonly hurry: AbortController;
}

/**
 * Reports what a model costs and stops it: what the router answers, without HTTP.
 *
 * ```ts
 * const monitor = new BackendMonitor({ registry });
 * const { state, memory } = await monitor.status("my-model");
 * await monitor.shutdown("my-model");
 * ```
 */
export class BackendMonitor {
  readonly #registry: ModelRegistry;
  readonly #statusTimeoutMs: number;
  readonly #drainTimeoutMs: number;
  readonly #freeTimeoutMs: number;
  readonly #terminateTimeoutMs: number;
  readonly #connections: Connections;
  readonly #samples = new Map<string, ProcessSample>();
  readonly #shutdowns = new Map<string, Shutdown>();
  #pruneAt = FIRST_PRUNE_AT;

  /** @throws {TypeError} naming the option that is not what it takes. */
  constructor(options: BackendMonitorOptions) {
    checkOptions("BackendMonitor", options, monitorOptionChecks);
    this.#registry = options.registry;
    this.#connections = new Connections(options.createClient ?? grpcBackendClient());
    this.#statusTimeoutMs = options.statusTimeoutMs ?? DEFAULT_STATUS_TIMEOUT_MS;
    this.#drainTimeoutMs = options.drainTimeoutMs ?? DEFAULT_DRAIN_TIMEOUT_MS;
    this.#freeTimeoutMs = options.freeTimeoutMs ?? DEFAULT_FREE_TIMEOUT_MS;
    this.#terminateTimeoutMs = options.terminateTimeoutMs ?? DEFAULT_TERMINATE_TIMEOUT_MS;
  }

  /**
   * What a model is doing and what it costs: by its backend's `Status`, and where that fails or tells of no memory,
   * by the operating system.
   *
   * @throws {ModelNotLoadedError} where the registry does not know the model.
   * @throws {BackendError} where neither the backend nor the operating system answers.
   * @throws {InternalError} where the registry fails.
   */
  async status(name: string): Promise<MonitorAnswer> {
    const model = await this.#lookUp(name);
    if (this.#connections.size >= this.#pruneAt) await this.#prune();
    const deadline = performance.now() + this.#statusTimeoutMs;
    try {
      const { state, memory } = await this.#askStatus(model);
      if (hasMemory(memory)) return { state, memory };
      // The call itself succeeded: its state is the answer, whether or not the rest is to be had.
      return { state, ...(await this.#sample(model).catch(() => NOTHING_KNOWN)) };
    } catch (error) {
      const failure = BackendCallError.from(error);
      const isHealthy = failure.code === "UNIMPLEMENTED" && (await this.#isHealthy(model, deadline));
      const usage = await this.#sample(model).catch((cause: unknown) => {
        throw bothFailed(model, failure, cause);
      });
      return {
        state: isHealthy ? BackendState.READY : BackendState.ERROR,
        ...usage,
        status_error: { code: failure.code, message: failure.message },
      };
    }
  }

  /**
   * Stops a model: waits for it to be idle, has the backend free its memory, and has the registry stop the process.
   * Calls for the same model at the same time share one shutdown; one of them with `force` hurries it for all.
   *
   * @throws {ModelNotLoadedError} where the registry does not know the model.
   * @throws {ModelBusyError} where it is still busy after the drain time; nothing was stopped.
   * @throws {BackendError} where its process could not be stopped; the model stays listed.
   * @throws {InternalError} where the registry fails.
   */
  async shutdown(name: string, { force = false }: ShutdownOptions = {}): Promise<void> {
    let shutdown = this.#shutdowns.get(name);
    if (!shutdown) {
      const hurry = new AbortController();
      if (force) hurry.abort();
      const done = this.#stop(name, hurry.signal).finally(() => this.#shutdowns.delete(name));
      shutdown = { done, hurry };
      this.#shutdowns.set(name, shutdown);
    } else if (force) {
      shutdown.hurry.abort();
    }
    return shutdown.done;
  }

  /** Closes the connections to all backends. They are opened again when they are needed. */
  close(): void {
    for (const name of this.#connections.names) this.#connections.close(name);
  }

  async #stop(name: string, hurry: AbortSignal): Promise<void> {
    let model = await this.#lookUp(name);
    model = await this.#drain(model, hurry);
    await this.#free(model, hurry);
    await this.#terminate(model, hurry.aborted);
    this.#forget(name);
  }

  /** Waits until the model is idle, or until there is a hurry. */
  async #drain(model: LoadedModel, hurry: AbortSignal): Promise<LoadedModel> {
    const deadline = performance.now() + this.#drainTimeoutMs;
    let current = model;
    while (!hurry.aborted && (await this.#isBusy(current))) {
      const remaining = deadline - performance.now();
      if (remaining <= 0) {
        throw new ModelBusyError(
          `model ${quote(model.name)} is still busy after ${this.#drainTimeoutMs} ms and was not stopped; ` +
            'try again later, or send "force": true to stop it all the same',
        );
      }
      await delay(Math.min(DRAIN_POLL_MS, remaining), undefined, { signal: hurry }).catch(() => {});
      current = await this.#lookUp(model.name);
    }
    return current;
  }

  /** A backend that does not answer is not known to be busy. */
  async #isBusy(model: LoadedModel): Promise<boolean> {
    if (model.busy) return true;
    const status = await this.#askStatus(model).catch(() => undefined);
    return status?.state === BackendState.BUSY;
  }

  #askStatus(model: LoadedModel): Promise<BackendStatus> {
    return this.#connections.call(model, this.#statusTimeoutMs, (client, signal) => client.status(signal));
  }

  async #isHealthy(model: LoadedModel, deadline: number): Promise<boolean> {
    const timeoutMs = Math.max(0, deadline - performance.now());
    try {
      return await this.#connections.call(model, timeoutMs, (client, signal) => client.health(signal));
    } catch {
      return false;
    }
  }

  /** Best effort: a backend that has no `Free`, or fails in it, is stopped all the same. */
  async #free(model: LoadedModel, hurry: AbortSignal): Promise<void> {
    if (hurry.aborted) return;
    await this.#connections
      .call(model, this.#freeTimeoutMs, (client, signal) => client.free(AbortSignal.any([signal, hurry])))
      .catch(() => {});
  }

  async #terminate(model: LoadedModel, force: boolean): Promise<void> {
    const name = quote(model.name);
    const timeoutMs = this.#terminateTimeoutMs;
    try {
      await withDeadline(
        timeoutMs + REGISTRY_SHUTDOWN_MARGIN_MS,
        (signal) => this.#registry.shutdown(model.name, { force, timeoutMs, signal }),
        () => new BackendError(`model ${name} could not be stopped in time; it may still be running`),
      );
    } catch (cause) {
      if (cause instanceof MonitorError) throw cause;
      if (cause instanceof TerminateError) {
        throw new BackendError(`model ${name} could not be stopped; ${cause.message}`, { cause });
      }
      throw new InternalError(`the registry failed to stop model ${name}; see the server's log`, { cause });
    }
    const listed = await this.#get(model.name);
    if (listed && listed.pid === model.pid && listed.address === model.address) {
      throw new InternalError(
        `the registry says that model ${name} is stopped, but still lists it; its shutdown() has to end the ` +
          "process and take the model off the list",
      );
    }
  }

  async #lookUp(name: string): Promise<LoadedModel> {
    const model = await this.#get(name);
    if (model) return model;
    this.#forget(name);
    throw new ModelNotLoadedError(`model ${quote(name)} is not loaded`);
  }

  async #get(name: string): Promise<LoadedModel | undefined> {
    let model: LoadedModel | undefined;
    try {
      model = await withDeadline(
        this.#statusTimeoutMs,
        () => this.#registry.get(name),
        () => new Error(`registry.get() did not answer within ${this.#statusTimeoutMs} ms`),
      );
    } catch (cause) {
      throw new InternalError(`the registry failed to look up model ${quote(name)}; see the server's log`, {
        cause,
      });
    }
    if (!model) return undefined;
    if (!isLoadedModel(model)) {
      throw new InternalError(
        `the registry has no usable entry for model ${quote(name)}; see the server's log`,
        {
          cause: new TypeError(
            "registry.get() returns undefined, or an object with a name and an address (strings) and, where there " +
              `is one, a pid (a whole number from 1); got ${inspect(model)}`,
          ),
        },
      );
    }
    return model;
  }

  /** What the operating system tells of a model's process. */
  async #sample(model: LoadedModel): Promise<SystemUsage> {
    const { name, pid, startTime } = model;
    if (pid === undefined || pid === null) throw new Error("no process of it is known on this machine");
    const sample = await sampleProcess(pid, { startTime, previous: this.#samples.get(name) });
    this.#samples.set(name, sample);
    return {
      memory: { total: BigInt(sample.rss), breakdown: mapValues(sample.breakdown, BigInt) },
      memory_info: { rss: sample.rss, vms: sample.vms },
      memory_percent: sample.memoryPercent,
      cpu_percent: sample.cpuPercent,
    };
  }

  #forget(name: string): void {
    this.#connections.close(name);
    this.#samples.delete(name);
  }

  /** Forgets models that the registry dropped without a shutdown. Where it can't list, they are kept. */
  async #prune(): Promise<void> {
    this.#pruneAt = Number.POSITIVE_INFINITY;
    try {
      const listed = new Set((await this.#registry.list()).map(({ name }) => name));
      for (const name of this.#connections.names) if (!listed.has(name)) this.#forget(name);
    } catch {
      // The next try is as far off as if nothing had been to forget.
    }
    this.#pruneAt = Math.max(FIRST_PRUNE_AT, 2 * this.#connections.size);
  }
}

/** The members of an answer that the operating system gives. */
type SystemUsage = Pick<MonitorAnswer, "memory" | "memory_info" | "memory_percent" | "cpu_percent">;

const NOTHING_KNOWN: SystemUsage = {
  memory: { total: null, breakdown: {} },
  memory_info: { rss: null, vms: null },
  memory_percent: null,
  cpu_percent: null,
};

function hasMemory(memory: BackendStatus["memory"]): memory is MemoryUsage {
  return memory !== undefined && (memory.total > 0 || Object.keys(memory.breakdown).length > 0);
}

function isLoadedModel(model: LoadedModel): boolean {
  const { name, address, pid } = model;
  return (
    [name, address].every(nonEmptyString.accepts) &&
    (pid === undefined || pid === null || processId.accepts(pid))
  );
}

function bothFailed(model: LoadedModel, failure: BackendCallError, cause: unknown): BackendError {
  const reason = detail(cause instanceof Error ? cause.message : String(cause));
  return new BackendError(
    `model ${quote(model.name)}: its backend's Status call failed (${failure.code}: ${failure.message}), and its ` +
      `process can't be sampled (${reason})`,
    { cause: new AggregateError([failure, cause]) },
  );
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}

export const monitorOptionChecks: Record<keyof BackendMonitorOptions, OptionCheck> = {
  registry: required(objectWith("get", "list", "shutdown")),
  createClient: aFunction,
  statusTimeoutMs: milliseconds,
  drainTimeoutMs: milliseconds,
  freeTimeoutMs: milliseconds,
  terminateTimeoutMs: milliseconds,
};
