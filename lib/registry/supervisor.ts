import { EventEmitter } from "node:events";
import { type BackendClientFactory, grpcBackendClient } from "../backend/client.js";
import { untilAborted } from "../deadline.js";
import { quote } from "../message.js";
import {
  abortSignal,
  aFunction,
  checkOptions,
  milliseconds,
  nonEmptyString,
  type OptionCheck,
  required,
} from "../options.js";
import { freeLoopbackAddress } from "../process/address.js";
import { DEFAULT_TERMINATE_TIMEOUT_MS } from "../process/terminate.js";
import { Logs } from "./logs.js";
import {
  type LoadedModel,
  type ModelRegistry,
  type RegistryShutdownOptions,
  shutdownOptionChecks,
} from "./registry.js";
import { StartError } from "./start-error.js";
import { type BackendPlan, SupervisedBackend } from "./supervised-backend.js";

/** Options of {@link BackendSupervisor}. */
export interface BackendSupervisorOptions {
  /** Makes the client that asks a starting backend for its `Health`. Default: `grpcBackendClient()`. */
  createClient?: BackendClientFactory | undefined;
}

/** A backend to start. */
export interface StartOptions {
  /** What requests call the model. */
  name: string;
  /** The program that is started, without a shell: a path, or a name that is looked for on the `PATH`. */
  command: string;
  /**
   * Its arguments. The address stands where they have `{address}`; where none has, `--addr` and the address are
   * appended, as LocalAI does it. Default: none.
   */
  args?: readonly string[] | undefined;
  /** Variables that its environment has beside those of this process; `undefined` takes one away. */
  env?: NodeJS.ProcessEnv | undefined;
  /** The folder that it is started in. Default: that of this process. */
  cwd?: string | undefined;
  /** The gRPC target that it is to listen at; see {@link LoadedModel}. Default: a free port of `127.0.0.1`. */
  address?: string | undefined;
  /** How long it may take until its `Health` says `OK`, in milliseconds. Default 60,000. */
  readyTimeoutMs?: number | undefined;
  /** Starts it again where it ends though nobody asked it to. Default: it is not. */
  restart?: RestartPolicy | undefined;
  /** Cancels the start. Where others wait for the same start, it goes on for them. */
  signal?: AbortSignal | undefined;
}

/** When a backend is started again that ended though nobody asked it to. */
export interface RestartPolicy {
  /** After how many restarts in a row it is given up. Default 5. */
  maxRetries?: number | undefined;
  /** The pause before the first restart, in milliseconds; before each one after it, it is twice as long. Default 1,000. */
  minDelayMs?: number | undefined;
  /**
   * The longest pause, in milliseconds. Where a backend has been ready for longer than this, the restarts are counted
   * anew. Default 60,000.
   */
  maxDelayMs?: number | undefined;
}

/** The process of a model ended, and nobody asked it to. */
export interface BackendExit {
  readonly name: string;
  /** The code that it exited with; `null` where a signal ended it. */
  readonly code: number | null;
  /** The signal that ended it; `null` where none did. */
  readonly signal: NodeJS.Signals | null;
  /** The last lines that it wrote to stderr. */
  readonly stderr: string;
}

/** A model that was ready once, and is not to be again. */
export interface BackendFailure {
  readonly name: string;
  /** Says why: its restarts did not help, or something of it can't be stopped. */
  readonly error: Error;
}

/** The events of {@link BackendSupervisor}. */
export interface BackendSupervisorEvents {
  exit: [BackendExit];
  failed: [BackendFailure];
}

const DEFAULT_READY_TIMEOUT_MS = 60_000;
const DEFAULT_MAX_RETRIES = 5;
const DEFAULT_MIN_DELAY_MS = 1_000;
const DEFAULT_MAX_DELAY_MS = 60_000;

/**
 * A registry that starts its backends, watches them, and lets nothing of them survive.
 *
 * - `exit` ({@link BackendExit}): a backend's process ended, and nobody asked it to. Its model is off the list already, and
 *   what is left of it is ended next.
 * - `failed` ({@link BackendFailure}): a backend is given up. Where nobody listens, this is a process warning.
 *
 * ```ts
 * const supervisor = new BackendSupervisor();
 * await supervisor.start({ name: "my-model", command: "python3", args: ["backend.py"] });
 * app.use(createBackendMonitorRouter({ registry: supervisor }));
 * process.on("SIGTERM", () => supervisor.shutdownAll().finally(() => process.exit()));
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
    checkOptions("BackendSupervisor", options, { createClient: aFunction });
    this.#createClient = options.createClient ?? grpcBackendClient();
  }

  /**
   * Starts a backend, and resolves once its `Health` says `OK`. Where one of this name runs already with the same command,
   * or is being started, that is the one; one that is being stopped is waited for.
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

  get(name: string): LoadedModel | undefined {
    return this.#backends.get(name)?.model;
  }

  list(): LoadedModel[] {
    return [...this.#backends.values()].flatMap(({ model }) => model ?? []);
  }

  /**
   * Stops a model, or cancels its start or restart: all its processes have `timeoutMs` (default 10,000) to end by themselves,
   * and are killed then. Nothing is done where there is no such model. It waits for nothing that a client has under way:
   * that is what `BackendMonitor.shutdown` does before it calls this.
   *
   * @throws {TerminateError} where a process is left; the model stays listed.
   * @throws {BackendError} where something still answers at its address; the model stays listed.
   */
  async shutdown(name: string, options: Partial<RegistryShutdownOptions> = {}): Promise<void> {
    checkOptions("shutdown", options, shutdownOptionChecks);
    await this.#backends.get(name)?.shutdown(options.timeoutMs ?? DEFAULT_TERMINATE_TIMEOUT_MS);
  }

  /** As {@link shutdown}: for a model that is not listed, that is what cancels its start or restart. */
  cancelStart(name: string, options: Partial<RegistryShutdownOptions> = {}): Promise<void> {
    return this.shutdown(name, options);
  }

  /**
   * Stops all models at the same time; see {@link shutdown}. Until that is done, none can be started.
   *
   * @throws {AggregateError} where some could not be stopped; the others are.
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

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdownAll();
  }

  /**
   * What the backends of a model have printed: the last 256 KiB of stdout and stderr together, over its restarts. It is
   * kept for ten minutes after the model went. `undefined` where nothing is known of it.
   */
  logs(name: string): string | undefined {
    return this.#logs.read(name);
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
      chooseAddress: () => this.#chooseAddress(),
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

  async #chooseAddress(): Promise<string> {
    for (;;) {
      const chosen = await freeLoopbackAddress();
      // Another one may have been given it, and not listen yet.
      if (![...this.#backends.values()].some(({ address }) => address === chosen)) return chosen;
    }
  }
}

function planOf(options: StartOptions): BackendPlan {
  checkOptions("start", options, startOptionChecks);
  const { restart } = options;
  if (restart) checkOptions("start, in option restart,", restart, restartChecks);
  return {
    name: options.name,
    command: {
      command: options.command,
      args: [...(options.args ?? [])],
      env: { ...options.env },
      cwd: options.cwd,
    },
    address: options.address,
    readyTimeoutMs: options.readyTimeoutMs ?? DEFAULT_READY_TIMEOUT_MS,
    restart: restart && {
      maxRetries: restart.maxRetries ?? DEFAULT_MAX_RETRIES,
      minDelayMs: restart.minDelayMs ?? DEFAULT_MIN_DELAY_MS,
      maxDelayMs: restart.maxDelayMs ?? DEFAULT_MAX_DELAY_MS,
    },
  };
}

const isString = (value: unknown) => typeof value === "string";

const startOptionChecks: Record<keyof StartOptions, OptionCheck> = {
  name: required(nonEmptyString),
  command: required(nonEmptyString),
  args: { takes: "an array of strings", accepts: (value) => Array.isArray(value) && value.every(isString) },
  env: {
    takes: "an object with strings",
    accepts: (value) =>
      typeof value === "object" &&
      value !== null &&
      Object.values(value).every((variable) => variable === undefined || isString(variable)),
    secret: true,
  },
  cwd: nonEmptyString,
  address: nonEmptyString,
  readyTimeoutMs: milliseconds,
  restart: { takes: "an object", accepts: (value) => typeof value === "object" && value !== null },
  signal: abortSignal,
};

const restartChecks: Record<keyof RestartPolicy, OptionCheck> = {
  maxRetries: {
    takes: "a whole number from 0",
    accepts: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  },
  minDelayMs: milliseconds,
  maxDelayMs: milliseconds,
};
