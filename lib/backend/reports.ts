import { isSameBackend, type LoadedModel } from "../model.js";
import { BackendCallError, StatusMissingError } from "./client.js";
import { type Connections, callBackend } from "./connections.js";
import { BackendState, type BackendStatus, type MemoryUsage } from "./status.js";

/** What asking a backend came to. */
export interface BackendReport {
  /** What it says that it is doing; `ERROR` where it does not say. */
  readonly state: number;
  /** Absent where it reports none. */
  readonly memory?: MemoryUsage | undefined;
  /** Why its `Status` call failed, where it did. */
  readonly failure?: BackendCallError | undefined;
  /** `Health` was waited for in vain, and while that lasted the process may have ended. */
  readonly isLate?: boolean | undefined;
}

interface AskOptions {
  /** When the report is to be there, on the clock of `performance.now()`. */
  readonly deadline: number;
  /** Called when `Status` has failed, and `Health` is on its way in its place. */
  readonly onHealth?: (() => void) | undefined;
}

interface Asking {
  readonly model: LoadedModel;
  readonly report: Promise<BackendReport>;
}

/** What backends say of themselves: one is asked once at a time, and all who ask meanwhile share what it says. */
export class Reports {
  readonly #connections: Connections;
  readonly #took: (name: string, startedAt: number) => void;
  readonly #underWay = new Map<string, Asking>();
  readonly #last = new Map<string, { readonly model: LoadedModel; readonly report: BackendReport }>();

  /** `took` is told of each that was asked, answer or not. */
  constructor(connections: Connections, took: (name: string, startedAt: number) => void) {
    this.#connections = connections;
    this.#took = took;
  }

  /** Asks for its `Status`, and where it has none, for its `Health`. Never rejects. */
  ask(name: string, model: LoadedModel, options: AskOptions): Promise<BackendReport> {
    const underWay = this.#underWay.get(name);
    if (underWay && isSameBackend(underWay.model, model)) return underWay.report;

    const startedAt = performance.now();
    const report = this.#ask(name, model, options).then((said) => {
      if (this.#underWay.get(name)?.report === report) this.#underWay.delete(name);
      // Of one that was stopped meanwhile, nothing is to be remembered.
      if (this.#connections.has(name)) this.#last.set(name, { model, report: said });
      this.#took(name, startedAt);
      return said;
    });
    this.#underWay.set(name, { model, report });
    return report;
  }

  /** What a backend said when it was last asked; `undefined` where it never was. */
  last(name: string, model: LoadedModel): BackendReport | undefined {
    const last = this.#last.get(name);
    return last && isSameBackend(last.model, model) ? last.report : undefined;
  }

  forget(name: string): void {
    this.#last.delete(name);
    this.#underWay.delete(name);
  }

  async #ask(name: string, model: LoadedModel, { deadline, onHealth }: AskOptions): Promise<BackendReport> {
    try {
      const { state, memory } = await this.#askStatus(name, model, deadline);
      return { state, memory: hasMemory(memory) ? memory : undefined };
    } catch (error) {
      const failure = BackendCallError.from(error);
      if (failure.code !== "UNIMPLEMENTED") return { state: BackendState.ERROR, failure };
      onHealth?.();
      const health = await this.#askHealth(name, model, deadline);
      return {
        state: health === true ? BackendState.READY : BackendState.ERROR,
        failure: reasonOf(failure, health),
        isLate: health instanceof BackendCallError,
      };
    }
  }

  async #askStatus(name: string, model: LoadedModel, deadline: number): Promise<BackendStatus> {
    const client = this.#connections.open(name, model);
    return callBackend(msUntil(deadline), (signal) => client.status(signal));
  }

  /** Whether the backend is healthy, or why it did not say. */
  async #askHealth(name: string, model: LoadedModel, deadline: number): Promise<boolean | BackendCallError> {
    // The model may have been stopped meanwhile: that is no reason to connect to it again.
    if (!this.#connections.has(name)) return false;
    try {
      const client = this.#connections.open(name, model);
      return await callBackend(msUntil(deadline), (signal) => client.health(signal));
    } catch (error) {
      return BackendCallError.from(error);
    }
  }
}

function msUntil(deadline: number): number {
  return Math.max(0, deadline - performance.now());
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
