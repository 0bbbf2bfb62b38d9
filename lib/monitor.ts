import { setImmediate } from "node:timers/promises";
import { type MonitorAnswer, NOTHING_KNOWN, type SystemUsage, systemUsage } from "./answer.js";
import {
  BackendCallError,
  type BackendClientFactory,
  clientFactory,
  grpcBackendClient,
  StatusMissingError,
} from "./backend/client.js";
import { Connections, callBackend } from "./backend/connections.js";
import { BackendState, type BackendStatus, type MemoryUsage } from "./backend/status.js";
import { withDeadline } from "./deadline.js";
import { asMonitorError, BackendError, ModelNotLoadedError } from "./errors.js";
import { Log, type Logger } from "./log.js";
import { detail, quote } from "./message.js";
import { isSameBackend, type LoadedModel } from "./model.js";
import {
  aBoolean,
  checkOptions,
  checkValue,
  milliseconds,
  type OptionCheck,
  objectWith,
  required,
} from "./options.js";
import { type ProcessSample, sampleProcess } from "./process/stats.js";
import { DEFAULT_TERMINATE_TIMEOUT_MS } from "./process/terminate.js";
import { lookUp } from "./registry/look-up.js";
import type { ModelRegistry } from "./registry/registry.js";
import { Shutdowns } from "./shutdown.js";

/** Options of {@link BackendMonitor}. */
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
  /**
   * Told of each shutdown (model, outcome, duration, number of processes ended), of the first time that a model is monitored
   * by the operating system and why, and of each `backend_error` and `internal_error`, with its cause and stack.
   * Default: silence.
   */
  logger?: Logger | undefined;
}

/** Options of `BackendMonitor.shutdown`. */
export interface ShutdownOptions {
  /** Neither wait for the model to be idle nor call `Free`. Default false. */
  force?: boolean | undefined;
}

const DEFAULT_STATUS_TIMEOUT_MS = 2_000;
const DEFAULT_DRAIN_TIMEOUT_MS = 30_000;
const DEFAULT_FREE_TIMEOUT_MS = 5_000;

/** Forgetting models that are gone is put off until there are twice as many as were left the last time. */
const FIRST_PRUNE_AT = 32;

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
  readonly #connections: Connections;
  /** The last sample of each model, from which the next one measures CPU. */
  readonly #samples = new Map<string, ProcessSample>();
  /** The answers that are being got, by model. */
  readonly #underWay = new Map<
    string,
    { readonly model: LoadedModel; readonly answer: Promise<MonitorAnswer> }
  >();
  readonly #shutdowns: Shutdowns;
  readonly #log: Log;
  #pruneAt = FIRST_PRUNE_AT;

  /** @throws {TypeError} naming the option that is not what it takes. */
  constructor(options: BackendMonitorOptions) {
    checkOptions("BackendMonitor", options, monitorOptionChecks);
    this.#registry = options.registry;
    this.#log = new Log(options.logger);
    this.#connections = new Connections(options.createClient ?? grpcBackendClient());
    this.#statusTimeoutMs = options.statusTimeoutMs ?? DEFAULT_STATUS_TIMEOUT_MS;
    this.#shutdowns = new Shutdowns({
      registry: this.#registry,
      connections: this.#connections,
      log: this.#log,
      lookUp: (name) => this.#lookUp(name),
      forget: (name) => this.#forget(name),
      statusTimeoutMs: this.#statusTimeoutMs,
      drainTimeoutMs: options.drainTimeoutMs ?? DEFAULT_DRAIN_TIMEOUT_MS,
      freeTimeoutMs: options.freeTimeoutMs ?? DEFAULT_FREE_TIMEOUT_MS,
      terminateTimeoutMs: options.terminateTimeoutMs ?? DEFAULT_TERMINATE_TIMEOUT_MS,
    });
  }

  /**
   * What a model is doing and what it costs: from its backend's `Status`, and where that fails or reports no
   * memory, from the operating system. Calls for the same model at the same time share one answer.
   *
   * @throws {ModelNotLoadedError} where the registry does not know the model.
   * @throws {BackendError} where neither the backend nor the operating system answers.
   * @throws {InternalError} where the registry fails.
   * @throws {TypeError} where `name` is no string.
   */
  async status(name: string): Promise<MonitorAnswer> {
    checkValue("status", name, aModelsName);
    const model = await this.#told(this.#lookUp(name));
    const underWay = this.#underWay.get(name);
    if (underWay && isSameBackend(underWay.model, model)) return underWay.answer;

    const answer = this.#told(this.#ask(name, model)).finally(() => {
      if (this.#underWay.get(name)?.answer === answer) this.#underWay.delete(name);
    });
    this.#underWay.set(name, { model, answer });
    return answer;
  }

  /** The same, and the log is told why it failed, where it does. */
  async #told<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const failure = asMonitorError(error);
      this.#log.failure(failure);
      throw failure;
    }
  }

  async #ask(name: string, model: LoadedModel): Promise<MonitorAnswer> {
    const deadline = performance.now() + this.#statusTimeoutMs;
    try {
      const { state, memory } = await this.#askStatus(name, model);
      if (hasMemory(memory)) return { state, memory };
      // The call itself succeeded: its state is the answer, whether or not the rest is to be had.
      const usage = await this.#sample(name, model).catch(() => undefined);
      if (usage) this.#tellFallback(name, model, "OK", "its Status reports no memory");
      return { state, ...(usage ?? NOTHING_KNOWN) };
    } catch (error) {
      const failure = BackendCallError.from(error);
      // In its turn: Health is on its way then, and the backend busy with it.
      const sampling = setImmediate().then(() => this.#sample(name, model));
      sampling.catch(() => {});
      const health = failure.code === "UNIMPLEMENTED" && (await this.#askHealth(name, model, deadline));
      const reason = reasonOf(failure, health);
      // While Health was waited for in vain, the process may have ended.
      const current = health instanceof BackendCallError ? this.#sample(name, model) : sampling;
      const usage = await current.catch((cause: unknown) => {
        throw bothFailed(name, reason, cause);
      });
      const { code, message } = reason;
      this.#tellFallback(name, model, code, `its Status call failed: ${code}: ${message}`);
      return {
        state: health === true ? BackendState.READY : BackendState.ERROR,
        ...usage,
        status_error: { code, message: detail(message) },
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
   * @throws {TypeError} where `name` is no string, or an option is not what it takes.
   */
  async shutdown(name: string, options: ShutdownOptions = {}): Promise<void> {
    checkValue("shutdown", name, aModelsName);
    checkOptions("shutdown", options, { force: aBoolean });
    return this.#shutdowns.shutDown(name, options.force ?? false);
  }

  /** Closes the connections to all backends. They are opened again when they are needed. */
  close(): void {
    for (const name of this.#connections.names) this.#forget(name);
  }

  async #askStatus(name: string, model: LoadedModel): Promise<BackendStatus> {
    const client = this.#connections.open(name, model);
    return callBackend(this.#statusTimeoutMs, (signal) => client.status(signal));
  }

  /** Whether the backend is healthy, or why it did not say. */
  async #askHealth(name: string, model: LoadedModel, deadline: number): Promise<boolean | BackendCallError> {
    // The model may have been stopped meanwhile: that is no reason to connect to it again.
    if (!this.#connections.has(name)) return false;
    const timeoutMs = Math.max(0, deadline - performance.now());
    try {
      const client = this.#connections.open(name, model);
      return await callBackend(timeoutMs, (signal) => client.health(signal));
    } catch (error) {
      return BackendCallError.from(error);
    }
  }

  async #lookUp(name: string): Promise<LoadedModel> {
    const model = await lookUp(this.#registry, name, this.#statusTimeoutMs);
    if (!model) {
      this.#forget(name);
      throw new ModelNotLoadedError(`model ${quote(name)} is not loaded`);
    }
    if (this.#connections.size >= this.#pruneAt) void this.#prune();
    return model;
  }

  /** What the operating system tells of a model's process. */
  async #sample(name: string, { pid, startTime }: LoadedModel): Promise<SystemUsage> {
    if (pid === undefined) throw new Error("no process of it can be seen on this machine");
    const sample = await sampleProcess(pid, { startTime, previous: this.#samples.get(name) });
    if (this.#connections.has(name)) this.#samples.set(name, sample);
    return systemUsage(sample);
  }

  #tellFallback(name: string, model: LoadedModel, code: string, reason: string): void {
    // Of one that was stopped meanwhile, nothing is to be remembered.
    if (this.#connections.has(name)) this.#log.fallback(name, model, code, reason);
  }

  #forget(name: string): void {
    this.#connections.close(name);
    this.#samples.delete(name);
    this.#underWay.delete(name);
    this.#log.forget(name);
  }

  /** Forgets models that the registry dropped without a shutdown. Where it does not tell, they are kept. */
  async #prune(): Promise<void> {
    this.#pruneAt = Number.POSITIVE_INFINITY;
    // A model that comes later is not on a list that was begun before.
    const { names } = this.#connections;
    try {
      const list = await withDeadline(
        this.#statusTimeoutMs,
        () => this.#registry.list(),
        () => new Error("registry.list() did not answer"),
      );
      const listed = new Set(list.map(({ name }) => name));
      for (const name of names) if (!listed.has(name)) this.#forget(name);
    } catch {
      // The next try is as far off as if there had been nothing to forget.
    }
    this.#pruneAt = Math.max(FIRST_PRUNE_AT, 2 * this.#connections.size);
  }
}

/** A host's own client may have `null` for what is not there, as proto-loader does. */
function hasMemory(memory: MemoryUsage | null | undefined): memory is MemoryUsage {
  return !!memory && (memory.total > 0 || Object.keys(memory.breakdown).length > 0);
}

/** Where Health was asked in the place of Status, and there was nobody to answer, Status would have failed as Health did. */
function reasonOf(failure: BackendCallError, health: boolean | BackendCallError): BackendCallError {
  const isTold = typeof health !== "boolean" && ["UNAVAILABLE", "DEADLINE_EXCEEDED"].includes(health.code);
  return failure instanceof StatusMissingError && isTold ? health : failure;
}

function bothFailed(name: string, failure: BackendCallError, cause: unknown): BackendError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new BackendError(
    `model ${quote(name)}: its backend's Status call failed (${failure.code}: ${detail(failure.message)}), and its ` +
      `process can't be sampled (${detail(reason)})`,
    { cause: new AggregateError([failure, cause]) },
  );
}

const aModelsName: OptionCheck = {
  takes: "a model's name, which is a string",
  accepts: (value) => typeof value === "string",
};

export const monitorOptionChecks: Record<keyof BackendMonitorOptions, OptionCheck> = {
  registry: required(objectWith("get", "list", "shutdown")),
  createClient: clientFactory,
  statusTimeoutMs: milliseconds,
  drainTimeoutMs: milliseconds,
  freeTimeoutMs: milliseconds,
  terminateTimeoutMs: milliseconds,
  logger: objectWith("info", "error"),
};
