import { EventEmitter } from "node:events";
import { setImmediate } from "node:timers/promises";
import { answerOf, type MonitorAnswer } from "./answer.js";
import { type BackendClientFactory, clientFactory, grpcBackendClient } from "./backend/client.js";
import { Connections } from "./backend/connections.js";
import { type BackendReport, Reports } from "./backend/reports.js";
import { asMonitorError, ModelNotLoadedError } from "./errors.js";
import { Log, type Logger } from "./log.js";
import { quote } from "./message.js";
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
import { type ModelOverview, Overviews } from "./overview.js";
import type { ProcessSample } from "./process/stats.js";
import { DEFAULT_TERMINATE_TIMEOUT_MS } from "./process/terminate.js";
import { listModels, lookUp } from "./registry/look-up.js";
import type { ModelRegistry } from "./registry/registry.js";
import { Samples } from "./samples.js";
import { type ShutdownProgress, Shutdowns } from "./shutdown.js";

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

/** How long one of the two sources took to tell of a model. */
export interface MonitorLatency {
  /** The model's name. */
  readonly name: string;
  /** The backend's own word, or the operating system's. */
  readonly source: "grpc" | "process";
  /** In milliseconds, whether it told or not. For a process it is that of the whole pass, where many are sampled in one. */
  readonly durationMs: number;
}

/** The events of {@link BackendMonitor}, and what their listeners are given. */
export interface BackendMonitorEvents {
  /** A shutdown has come to its next phase, or to its end. */
  shutdown: [ShutdownProgress];
  /** A backend was asked, or a process sampled. */
  latency: [MonitorLatency];
}

/** What the rest of the package needs of a monitor, and nobody else does. */
export interface MonitorParts {
  readonly registry: ModelRegistry;
  readonly overviews: Overviews;
  readonly log: Log;
  /** The registry has that long, too. */
  readonly statusTimeoutMs: number;
}

const parts = new WeakMap<BackendMonitor, MonitorParts>();

export function partsOf(monitor: BackendMonitor): MonitorParts {
  return parts.get(monitor) as MonitorParts;
}

const DEFAULT_STATUS_TIMEOUT_MS = 2_000;
const DEFAULT_DRAIN_TIMEOUT_MS = 30_000;
const DEFAULT_FREE_TIMEOUT_MS = 5_000;

/** Forgetting models that are gone is put off until there are twice as many as were left the last time. */
const FIRST_PRUNE_AT = 32;

/**
 * Reports what models cost and stops them: what the router answers, without HTTP.
 *
 * It emits `shutdown` and `latency`: {@link BackendMonitorEvents}.
 *
 * ```ts
 * const monitor = new BackendMonitor({ registry });
 * const { state, memory } = await monitor.status("my-model");
 * for (const { name, process } of await monitor.overview()) console.log(name, process?.rss);
 * await monitor.shutdown("my-model");
 * ```
 */
export class BackendMonitor extends EventEmitter<BackendMonitorEvents> {
  readonly #registry: ModelRegistry;
  readonly #statusTimeoutMs: number;
  readonly #connections: Connections;
  readonly #reports: Reports;
  readonly #samples: Samples;
  /** The answers that are being got, by model. */
  readonly #underWay = new Map<
    string,
    { readonly model: LoadedModel; readonly answer: Promise<MonitorAnswer> }
  >();
  readonly #overviews: Overviews;
  readonly #shutdowns: Shutdowns;
  readonly #log: Log;
  #pruneAt = FIRST_PRUNE_AT;

  /** @throws {TypeError} naming the option that is not what it takes. */
  constructor(options: BackendMonitorOptions) {
    super();
    checkOptions("BackendMonitor", options, monitorOptionChecks);
    this.#registry = options.registry;
    this.#log = new Log(options.logger);
    this.#connections = new Connections(options.createClient ?? grpcBackendClient());
    this.#statusTimeoutMs = options.statusTimeoutMs ?? DEFAULT_STATUS_TIMEOUT_MS;
    this.#reports = new Reports(this.#connections, (name, startedAt) => this.#took(name, "grpc", startedAt));
    this.#samples = new Samples(
      (name) => this.#connections.has(name),
      (name, startedAt) => this.#took(name, "process", startedAt),
    );
    this.#shutdowns = new Shutdowns({
      registry: this.#registry,
      connections: this.#connections,
      log: this.#log,
      lookUp: (name) => this.#lookUp(name),
      forget: (name) => {
        this.#forget(name);
        this.#overviews.beginAnew();
      },
      progress: (progress) => this.#emitLater("shutdown", progress),
      statusTimeoutMs: this.#statusTimeoutMs,
      drainTimeoutMs: options.drainTimeoutMs ?? DEFAULT_DRAIN_TIMEOUT_MS,
      freeTimeoutMs: options.freeTimeoutMs ?? DEFAULT_FREE_TIMEOUT_MS,
      terminateTimeoutMs: options.terminateTimeoutMs ?? DEFAULT_TERMINATE_TIMEOUT_MS,
    });
    this.#overviews = new Overviews({
      registry: this.#registry,
      reports: this.#reports,
      samples: this.#samples,
      log: this.#log,
      statusTimeoutMs: this.#statusTimeoutMs,
      answer: (name, model, report, sample) => this.#answer(name, model, report, sample),
      shutdownPhase: (name) => this.#shutdowns.phase(name),
      known: () => this.#connections.names,
      isKnown: (name) => this.#connections.has(name),
      forget: (name) => this.#forget(name),
    });
    parts.set(this, {
      registry: this.#registry,
      overviews: this.#overviews,
      log: this.#log,
      statusTimeoutMs: this.#statusTimeoutMs,
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
    let early: Promise<ProcessSample | Error> | undefined;
    const report = await this.#reports.ask(name, model, {
      deadline: performance.now() + this.#statusTimeoutMs,
      // In its turn: Health is on its way then, and the backend busy with it.
      onHealth: () => {
        early = setImmediate().then(() => this.#samples.take(name, model));
      },
    });
    if (report.memory) return this.#answer(name, model, report);
    const sample = await ((report.isLate ? undefined : early) ?? this.#samples.take(name, model));
    return this.#answer(name, model, report, sample);
  }

  #answer(
    name: string,
    model: LoadedModel,
    report: BackendReport,
    sample?: ProcessSample | Error,
  ): MonitorAnswer {
    const answer = answerOf(name, report, sample);
    // Of one that was stopped meanwhile, nothing is to be remembered.
    if (!report.memory && !(sample instanceof Error) && this.#connections.has(name)) {
      this.#log.fallback(name, model, report.failure);
    }
    return answer;
  }

  /**
   * What every model of the registry is doing and what it costs, all at once: they share one pass over the process table. It is
   * there within `statusTimeoutMs` and a moment, however many backends do not answer; one that can't be monitored has its error in its
   * place. Calls at the same time share one overview.
   *
   * @throws {InternalError} where the registry can't list its models.
   */
  async overview(): Promise<ModelOverview[]> {
    return this.#told(this.#overviews.take());
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

  async #lookUp(name: string): Promise<LoadedModel> {
    const model = await lookUp(this.#registry, name, this.#statusTimeoutMs);
    if (!model) {
      this.#forget(name);
      throw new ModelNotLoadedError(`model ${quote(name)} is not loaded`);
    }
    if (this.#connections.size >= this.#pruneAt) void this.#prune();
    return model;
  }

  #took(name: string, source: MonitorLatency["source"], startedAt: number): void {
    if (this.listenerCount("latency") === 0) return;
    this.#emitLater("latency", { name, source, durationMs: performance.now() - startedAt });
  }

  /** A listener that throws is the host's concern, as with any event, and keeps nothing here from being done. */
  #emitLater<E extends keyof BackendMonitorEvents>(event: E, value: BackendMonitorEvents[E][0]): void {
    process.nextTick(() => this.emit<"shutdown" | "latency">(event, value as never));
  }

  #forget(name: string): void {
    this.#connections.close(name);
    this.#reports.forget(name);
    this.#samples.forget(name);
    this.#underWay.delete(name);
    this.#log.forget(name);
  }

  /** Forgets models that the registry dropped without a shutdown. Where it does not tell, they are kept. */
  async #prune(): Promise<void> {
    this.#pruneAt = Number.POSITIVE_INFINITY;
    // A model that comes later is not on a list that was begun before.
    const { names } = this.#connections;
    try {
      const listed = await listModels(this.#registry, this.#statusTimeoutMs);
      for (const name of names) if (!listed.has(name)) this.#forget(name);
    } catch {
      // The next try is as far off as if there had been nothing to forget.
    }
    this.#pruneAt = Math.max(FIRST_PRUNE_AT, 2 * this.#connections.size);
  }
}

export const aMonitor: OptionCheck = {
  takes: "a BackendMonitor",
  accepts: (value) => value instanceof BackendMonitor,
};

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
