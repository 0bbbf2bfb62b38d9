import { BackendError } from "../errors.js";
import { quote } from "../message.js";
import { aFunction, checkOptions, nonEmptyString, processId, required } from "../options.js";
import { findProcessByAddress } from "../process/find.js";
import type { ProcessEntry } from "../process/reader.js";
import { isRunning, processStartTime } from "../process/system.js";
import { terminateTree, trackTree } from "../process/terminate.js";
import type { LoadedModel, ModelRegistry, RegistryShutdownOptions } from "./registry.js";

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
   * Stops the backend in the host's own way (`docker stop`, systemd, …), instead of a signal. Whatever is left
   * of the process tree when it is done is terminated.
   */
  stop?: ((options: RegistryShutdownOptions) => unknown) | undefined;
}

/** The process of a registered model. */
interface BackendProcess {
  readonly pid: number;
  readonly startTime: number | undefined;
}

interface Entry {
  readonly registration: Registration;
  process(): Promise<BackendProcess | undefined>;
}

/** How long "there is no such process" holds before the process table is searched again. */
const SEARCH_AGAIN_MS = 1000;

/** No process was ever started then: the process had ended before it was registered. */
const NEVER_STARTED = -1;

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
      name: required(nonEmptyString),
      address: required(nonEmptyString),
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

  async get(name: string): Promise<LoadedModel | undefined> {
    const entry = this.#entries.get(name);
    return entry && describeModel(entry);
  }

  async list(): Promise<LoadedModel[]> {
    return Promise.all(Array.from(this.#entries.values(), describeModel));
  }

  /**
   * Stops the model's backend and takes it off the list: by its `stop` hook where it has one, otherwise by
   * terminating its process tree.
   *
   * @throws {BackendError} where there is no way to stop it, or its hook failed; the model stays listed.
   * @throws {TerminateError} where a process is left; the model stays listed.
   */
  async shutdown(name: string, options: RegistryShutdownOptions): Promise<void> {
    const entry = this.#entries.get(name);
    if (!entry) return;
    const { stop } = entry.registration;
    const process = await entry.process();
    if (!stop && !process) {
      throw new BackendError(
        `model ${quote(name)} can't be stopped: its process was not found on this machine; register the model ` +
          "with its pid or with a stop hook",
      );
    }
    const tree = process && trackTree(process.pid, process.startTime);
    if (stop) {
      // Read now: what outlives its parent could not be told from a stranger afterwards.
      await tree?.left();
      try {
        await stop(options);
      } catch (cause) {
        throw new BackendError(`the stop hook of model ${quote(name)} failed`, { cause });
      }
    }
    if (tree) await terminateTree(tree, options.timeoutMs);
    // The host may have registered a new backend under this name in the meantime.
    if (this.#entries.get(name) === entry) this.#entries.delete(name);
  }
}

async function describeModel({ registration: { name, address }, process }: Entry): Promise<LoadedModel> {
  return { name, address, ...(await process()) };
}

function rememberProcess(pid: number): () => Promise<BackendProcess> {
  const process = processStartTime(pid).then(
    (startTime) => ({ pid, startTime: startTime ?? NEVER_STARTED }),
    // The process table can't be read here; the id is all there is to go by.
    () => ({ pid, startTime: undefined }),
  );
  return () => process;
}

function searchProcess(address: string): () => Promise<BackendProcess | undefined> {
  let found: ProcessEntry | undefined;
  let search: Promise<ProcessEntry | undefined> | undefined;
  let searchedAt = Number.NEGATIVE_INFINITY;

  return async () => {
    if (found && (await isRunning(found))) return identify(found);
    if (performance.now() - searchedAt >= SEARCH_AGAIN_MS) {
      searchedAt = performance.now();
      search = findProcessByAddress(address).catch(() => undefined);
    }
    found = await search;
    return found && identify(found);
  };
}

function identify({ pid, startTime }: ProcessEntry): BackendProcess {
  return { pid, startTime };
}
