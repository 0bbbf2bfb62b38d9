import { inTime } from "../deadline.js";
import { BackendError } from "../errors.js";
import { grpcTarget } from "../grpc-target.js";
import { detail, quote } from "../message.js";
import { type LoadedModel, modelName } from "../model.js";
import { aFunction, checkOptions, processId, required } from "../options.js";
import { isFreed, isListening, isOwnListener } from "../process/address.js";
import { findProcessByAddress } from "../process/find.js";
import type { ProcessEntry } from "../process/reader.js";
import { isRunning, NEVER_STARTED, processStartTime } from "../process/system.js";
import { DEFAULT_TERMINATE_TIMEOUT_MS, terminateTree } from "../process/terminate.js";
import { trackTree } from "../process/track.js";
import { type ModelRegistry, type RegistryShutdownOptions, shutdownOptionChecks } from "./registry.js";

/** A model to register. */
export interface Registration {
  /** What requests call the model. */
  name: string;
  /** Its backend's gRPC target; see {@link LoadedModel}. */
  address: string;
  /**
   * The backend's process on this machine. Where it is left out, it is looked for: the one process with this
   * address on its command line.
   */
  pid?: number | undefined;
  /**
   * Stops the backend in the host's own way (`docker stop`, systemd, …), instead of a signal. It has `timeoutMs`;
   * whatever is left of the process tree when it is done is terminated.
   */
  stop?: ((options: RegistryShutdownOptions) => unknown) | undefined;
}

/** The process of a registered model. */
interface BackendProcess {
  readonly pid: number;
  readonly startTime: number;
}

interface Entry {
  readonly registration: Registration;
  /** Its process, where one can be seen. With `isUrgent`, that none was found a moment ago is not good enough. */
  process(isUrgent?: boolean): MaybePromise<BackendProcess | undefined>;
}

type MaybePromise<T> = T | Promise<T>;

/** How long "there is no such process" holds before the process table is searched again. */
const SEARCH_AGAIN_MS = 1000;

/** How long an answer waits for a search, which takes its time on a busy machine: it may well do without. */
const SEARCH_MS = 500;

/**
 * A registry that a host keeps by hand.
 *
 * ```ts
 * const registry = new InMemoryModelRegistry();
 * registry.register({ name: "my-model", address: "127.0.0.1:50051", pid: backend.pid });
 * ```
 */
export class InMemoryModelRegistry implements ModelRegistry {
  readonly #entries = new Map<string, Entry>();

  /**
   * Lists a model as loaded, in place of one of the same name. The process is remembered by its start time too,
   * so that it is never mistaken for another one that gets the same id later.
   *
   * @throws {TypeError} where something is missing or not what it should be.
   */
  register(registration: Registration): void {
    checkOptions("register", registration, {
      name: required(modelName),
      address: required(grpcTarget),
      pid: processId,
      stop: aFunction,
    });
    const { name, address, pid } = registration;
    const process = pid === undefined ? searchProcess(address) : rememberProcess(pid);
    this.#entries.set(name, { registration: { ...registration }, process });
  }

  /** Takes a model off the list and leaves its process alone. Tells whether it was listed. */
  unregister(name: string): boolean {
    return this.#entries.delete(name);
  }

  /** The model of this name, `undefined` where none is registered. A promise only where the process table has to be asked. */
  get(name: string): LoadedModel | undefined | Promise<LoadedModel> {
    const entry = this.#entries.get(name);
    return entry && describeModel(entry);
  }

  /** Every model that is registered, with its process where one can be seen. */
  async list(): Promise<LoadedModel[]> {
    return Promise.all(Array.from(this.#entries.values(), describeModel));
  }

  /**
   * Stops the model's backend and takes it off the list: by its `stop` hook where it has one, otherwise by
   * terminating its process tree, which has 10 seconds to end by itself unless `timeoutMs` says otherwise. Resolves with the
   * number of processes that were ended; `undefined` where none of it can be seen on this machine.
   *
   * @throws {BackendError} where there is no way to stop it, its hook failed, or something still answers at its
   *   address; the model stays listed.
   * @throws {TerminateError} where a process is left; the model stays listed.
   * @throws {TypeError} where an option is not what it takes.
   */
  async shutdown(name: string, options: Partial<RegistryShutdownOptions> = {}): Promise<number | undefined> {
    checkOptions("shutdown", options, shutdownOptionChecks);
    const entry = this.#entries.get(name);
    if (!entry) return 0;
    const { force = false, timeoutMs = DEFAULT_TERMINATE_TIMEOUT_MS } = options;
    const { signal = new AbortController().signal } = options;
    const { stop, address, pid } = entry.registration;
    const backend = await entry.process(true);
    if (!stop && !backend) {
      throw new BackendError(
        `model ${quote(name)} can't be stopped: no process of it can be seen on this machine; register the model ` +
          "with the pid of one that can, or with a stop hook",
      );
    }
    const tree = backend && trackTree(backend.pid, backend);
    // Where its start script, whose pid was registered, has ended before it, the backend is found by its address alone. It is
    // looked for now: what comes to the address later is somebody else's.
    const stray = pid === undefined ? undefined : await findProcessByAddress(address).catch(() => undefined);
    const terminateBy = performance.now() + timeoutMs;
    const patienceMs = () => Math.max(0, terminateBy - performance.now());
    const ended = new Set<ProcessEntry>();
    if (stop) {
      // Read now: what outlives its parent could not be told from a stranger afterwards.
      for (const process of (await tree?.left()) ?? []) ended.add(process);
      try {
        await stop({ force, timeoutMs, signal });
      } catch (cause) {
        throw new BackendError(`the stop hook of model ${quote(name)} failed`, { cause });
      }
      signal.throwIfAborted();
    }
    if (tree) for (const process of await terminateTree(tree, patienceMs())) ended.add(process);
    if (stray && (await isListening(address)) && !isOwnListener(address)) {
      for (const process of await terminateTree(trackTree(stray.pid, stray), patienceMs()))
        ended.add(process);
    }
    if (!(await isFreed(address))) {
      throw new BackendError(
        `model ${quote(name)} is not stopped: its process is gone, but ${quote(detail(address))} still answers; end ` +
          "what listens there, or register the model with its pid",
      );
    }
    // The host may have registered a new backend under this name in the meantime.
    if (this.#entries.get(name) === entry) this.#entries.delete(name);
    return tree || stray ? ended.size : undefined;
  }
}

function describeModel({ registration: { name, address }, process }: Entry): MaybePromise<LoadedModel> {
  const known = process();
  return known instanceof Promise
    ? known.then((found) => ({ name, address, ...found }))
    : { name, address, ...known };
}

function rememberProcess(pid: number): Entry["process"] {
  let process: MaybePromise<BackendProcess | undefined> = processStartTime(pid).then(
    (startTime): BackendProcess => ({ pid, startTime: startTime ?? NEVER_STARTED }),
    // Without a start time it could not be told from another one that gets its id later.
    () => undefined,
  );
  process.then((known) => {
    process = known;
  });
  return () => process;
}

function searchProcess(address: string): Entry["process"] {
  let known: ProcessEntry | undefined;
  let search = Promise.resolve();
  let searchAgainAt = 0;
  const look = async () => {
    searchAgainAt = Number.POSITIVE_INFINITY;
    known = await findProcessByAddress(address).catch(() => undefined);
    searchAgainAt = performance.now() + SEARCH_AGAIN_MS;
  };

  return async (isUrgent = false) => {
    const before = known;
    if (before && (await isRunning(before))) return identify(before);
    if (isUrgent || performance.now() >= searchAgainAt) search = look();
    await (isUrgent ? search : inTime(SEARCH_MS, search, () => new Error()).catch(() => {}));
    const found = known;
    return found && (await isRunning(found)) ? identify(found) : undefined;
  };
}

function identify({ pid, startTime }: ProcessEntry): BackendProcess {
  return { pid, startTime };
}
