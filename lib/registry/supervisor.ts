import { EventEmitter } from "node:events";
import { type BackendClientFactory, clientFactory, grpcBackendClient } from "../backend/client.js";
import { untilAborted } from "../deadline.js";
import { quote } from "../message.js";
import type { LoadedModel } from "../model.js";
import { abortSignal, checkOptions, checkValue } from "../options.js";
import { freeLoopbackAddress } from "../process/address.js";
import { DEFAULT_TERMINATE_TIMEOUT_MS } from "../process/terminate.js";
import type { RunEnd } from "./backend-run.js";
import { Logs } from "./logs.js";
import { type BackendPlan, planOf, type StartOptions } from "./plan.js";
import { type ModelRegistry, type RegistryShutdownOptions, shutdownOptionChecks } from "./registry.js";
import { StartError } from "./start-error.js";
import { SupervisedBackend } from "./supervised-backend.js";

/** Options of {@link BackendSupervisor}. */
export interface BackendSupervisorOptions {
  /** Makes the client that asks a starting backend for its `Health`. Default: `grpcBackendClient()`. */
  createClient?: BackendClientFactory | undefined;
}

/** How the process of a model ended, though nobody asked it to. */
export interface BackendExit extends RunEnd {
  /** The model's name. */
  readonly name: string;
}

/** A model that was ready once, and will not be started again. */
export interface BackendFailure {
  /** The model's name. */
  readonly name: string;
  /** Says why: its restarts did not help, or something of it can't be stopped. */
  readonly error: Error;
}

/** The events of {@link BackendSupervisor}, and what their listeners are given. */
export interface BackendSupervisorEvents {
  /**
   * A backend's process ended, and nobody asked it to. Its model is off the list already, and what is left of it is ended next.
   * It comes for each restart that fails so, too; of the first start, the {@link StartError} tells.
   */
  exit: [BackendExit];
  /** A backend is given up. Where nobody listens, this is a process warning. */
  failed: [BackendFailure];
}

/**
 * A registry that starts its backends, watches them, and lets nothing of them survive.
 *
 * It emits `exit` and `failed`: {@link BackendSupervisorEvents}.
 *
 * ```ts
 * const supervisor = new BackendSupervisor();
 * await supervisor.start({ name: "my-model", command: "python3", args: ["backend.py"] });
 * app.use(createBackendMonitorRouter({ registry: supervisor }));
 * process.on("SIGTERM", () => supervisor.shutdownAll().catch(console.error).finally(() => process.exit()));
 * ```
 *
 * When this process exits in the ordinary way, all that is left is killed. It is an `AsyncDisposable`.
 */
export class BackendSupervisor
  extends EventEmitter<BackendSupervisorEvents>
  implements ModelRegistry, AsyncDisposable
{
  readonly #createClient: BackendClientFactory;
  readonly #backends = new Map<string, SupervisedBackend>();
  readonly #logs = new Logs();
  /** How many calls of `shutdownAll` are under way. */
  #closing = 0;

  /** @throws {TypeError} naming the option that is not what it takes. */
  constructor(options: BackendSupervisorOptions = {}) {
    super();
    checkOptions("BackendSupervisor", options, { createClient: clientFactory });
    this.#createClient = options.createClient ?? grpcBackendClient();
  }

  /**
   * Starts a backend, and resolves once its `Health` says `OK`. Where one of this name runs already or is being started, with
   * the same command, arguments, environment, folder and address, that is the one, whatever else is asked for; one that is
   * being stopped is waited for.
   *
   * @throws {StartError} where it can't be started, ends before it is ready, is not ready in time, or is shut down
   *   meanwhile; where the name belongs to a backend with another command.
   * @throws {TypeError} where an option is not what it takes.
   * @throws the reason of `signal`, where that is aborted.
   */
  async start(options: StartOptions): Promise<LoadedModel> {
    const plan = planOf(options);
    const { name } = plan;
    const { signal } = options;
    for (;;) {
      signal?.throwIfAborted();
      if (this.#closing > 0) {
        throw new StartError(`model ${quote(name)} can't be started while everything is being shut down`);
      }
      const existing = this.#backends.get(name);
      if (!existing) return this.#create(plan).ready(signal);
      if (!existing.ending) {
        if (existing.is(plan)) return existing.ready(signal);
        throw new StartError(`model ${quote(name)} runs with another command; shut it down first`);
      }
      await this.#waitForEnd(name, existing, signal);
    }
  }

  /** A shutdown that is asked for meanwhile is meant for the start that waits here, too. */
  async #waitForEnd(
    name: string,
    backend: SupervisedBackend,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { shutdowns, ending = Promise.resolve() } = backend;
    await untilAborted(ending, signal).catch((cause: Error) => {
      signal?.throwIfAborted();
      throw new StartError(
        `model ${quote(name)} can't be started before all of its last run is stopped (${cause.message}); shut it down first`,
        { cause },
      );
    });
    if (backend.shutdowns !== shutdowns) {
      throw new StartError(`the start of model ${quote(name)} was cancelled by a shutdown`);
    }
  }

  /** The model of this name, where its backend is ready; `undefined` while it is being started or restarted. */
  get(name: string): LoadedModel | undefined {
    return this.#backends.get(name)?.model;
  }

  /** Every model whose backend is ready. */
  list(): LoadedModel[] {
    return [...this.#backends.values()].flatMap(({ model }) => model ?? []);
  }

  /**
   * Stops a model, or cancels its start or restart: all its processes have `timeoutMs` (default 10,000) to end by themselves,
   * and are killed then. Nothing is done where there is no such model. It waits for nothing that a client has under way:
   * that is what `BackendMonitor.shutdown` does before it calls this. `force` and `signal` change nothing. Resolves with the
   * number of processes that it ended.
   *
   * @throws {TerminateError} where a process is left; the model stays listed.
   * @throws {BackendError} where something still answers at its address; the model stays listed.
   * @throws {TypeError} where an option is not what it takes.
   */
  async shutdown(name: string, options: Partial<RegistryShutdownOptions> = {}): Promise<number> {
    checkOptions("shutdown", options, shutdownOptionChecks);
    const timeoutMs = options.timeoutMs ?? DEFAULT_TERMINATE_TIMEOUT_MS;
    return (await this.#backends.get(name)?.shutdown(timeoutMs)) ?? 0;
  }

  /** As {@link shutdown}: for a model that is not listed, that is what cancels its start or restart. */
  cancelStart(name: string, options: Partial<RegistryShutdownOptions> = {}): Promise<number> {
    return this.shutdown(name, options);
  }

  /**
   * Stops all models at the same time; see {@link shutdown}. Until that is done, none can be started.
   *
   * @throws {AggregateError} where some could not be stopped; the others are.
   * @throws {TypeError} where an option is not what it takes.
   */
  async shutdownAll(options: Partial<RegistryShutdownOptions> = {}): Promise<void> {
    checkOptions("shutdownAll", options, shutdownOptionChecks);
    this.#closing++;
    try {
      const names = [...this.#backends.keys()];
      const outcomes = await Promise.allSettled(names.map((name) => this.shutdown(name, options)));
      const errors = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
      if (errors.length > 0) {
        const said = errors.map((error: Error) => error.message).join("; ");
        throw new AggregateError(
          errors,
          `${errors.length} of ${names.length} models could not be stopped: ${said}`,
        );
      }
    } finally {
      this.#closing--;
    }
  }

  /** The same as {@link shutdownAll}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdownAll();
  }

  /**
   * What the backends of a model have printed: the last 256 KiB of stdout and stderr together, over its restarts. It is
   * kept for ten minutes after the model went, of the last hundred that did. `undefined` where nothing is known of it.
   */
  logs(name: string): string | undefined {
    return this.#logs.read(name);
  }

  /**
   * The log of a model as {@link logs} has it, then what is added, over restarts and later starts under the same name. It ends
   * when `signal` is aborted, or when the log is no longer kept; `undefined` where nothing is known of it. Nothing is put by for
   * a reader that is slow: where it is more than 256 KiB behind, a line tells what is gone, `[… 123456 bytes left out …]`.
   *
   * @throws {TypeError} where `signal` is no `AbortSignal`.
   */
  followLogs(name: string, signal: AbortSignal): AsyncIterable<string> | undefined {
    checkValue("followLogs", signal, { ...abortSignal, takes: "an AbortSignal as its second argument" });
    return this.#logs.follow(name, signal);
  }

  /** @throws {StartError} where the address is that of another model. */
  #create(plan: BackendPlan): SupervisedBackend {
    const { name, address } = plan;
    const other = [...this.#backends].find(
      ([, backend]) => address !== undefined && backend.address === address,
    );
    if (other) {
      throw new StartError(
        `model ${quote(name)} can't be started: ${quote(plan.address ?? "")} is the address of model ${quote(other[0])}`,
      );
    }
    const backend = new SupervisedBackend(plan, {
      createClient: this.#createClient,
      output: this.#logs.open(name),
      chooseAddress: (reserve) => this.#chooseAddress(reserve),
      // A listener that throws is the host's concern, as with any event, and keeps nothing here from being done.
      exited: ({ code, signal, stderr }) => {
        process.nextTick(() => this.emit("exit", { name, code, signal, stderr }));
      },
      failed: (error) => {
        if (this.listenerCount("failed") === 0)
          process.emitWarning(error.message, "BackendSupervisorWarning");
        process.nextTick(() => this.emit("failed", { name, error }));
      },
      gone: () => {
        if (this.#backends.get(name) !== backend) return;
        this.#backends.delete(name);
        this.#logs.close(name);
      },
    });
    this.#backends.set(name, backend);
    return backend;
  }

  async #chooseAddress(reserve: (address: string) => void): Promise<void> {
    for (;;) {
      const chosen = await freeLoopbackAddress();
      // Another one may have been given it, and not listen yet.
      if ([...this.#backends.values()].some(({ address }) => address === chosen)) continue;
      return reserve(chosen);
    }
  }
}
