import { setTimeout as delay } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { BackendClientFactory } from "../backend/client.js";
import { untilAborted } from "../deadline.js";
import { BackendError } from "../errors.js";
import { detail, quote } from "../message.js";
import type { LoadedModel } from "../model.js";
import { isFreed, isListening, listeningSockets } from "../process/address.js";
import { DEFAULT_TERMINATE_TIMEOUT_MS } from "../process/terminate.js";
import { BackendRun, type RunEnd } from "./backend-run.js";
import type { BackendCommand, BackendPlan, RestartPlan } from "./plan.js";
import type { RecentOutput } from "./recent-output.js";
import { explainUnready, hasEnded, howItEnded, saysAddressInUse } from "./run-failure.js";
import { StartError } from "./start-error.js";
import { untilHealthy } from "./until-healthy.js";

/** What a backend needs of its supervisor, and tells it. */
export interface BackendOwner {
  readonly createClient: BackendClientFactory;
  readonly output: RecentOutput;
  /** Has a free address reserved that no other backend has. */
  chooseAddress(reserve: (address: string) => void): Promise<void>;
  /** Its process ended, and nobody asked it to. */
  exited(end: RunEnd): void;
  /** It was ready once, and will not be started again: its restarts did not help, or something of it can't be stopped. */
  failed(error: Error): void;
  /** Nothing of it is left. */
  gone(): void;
}

/** A backend that was ready for so long is steady: its restarts are counted anew. */
const STEADY_MS = 60_000;

/** How many free addresses are tried, where other programs take them before the backend does. */
const MAX_ADDRESSES = 3;
/** One backend from its first start until nothing of it is left, over all its restarts. */
export class SupervisedBackend {
  /** Set while it is ready; and after that, where it was to be stopped and something of it is left. */
  model: LoadedModel | undefined;
  /** Where it listens, or is going to; `undefined` until that is chosen. */
  address: string | undefined;
  /** Set once it is not to be ready again. Resolves when nothing of it is left; rejects where something is. */
  ending: Promise<unknown> | undefined;
  /** How often its shutdown has been asked for. */
  shutdowns = 0;

  readonly #plan: BackendPlan;
  readonly #owner: BackendOwner;
  readonly #cancel = new AbortController();
  /** The last run, for as long as something of it may be there. */
  #run: BackendRun | undefined;
  /** What listened at its address when it got ready, where the system tells. */
  #sockets: string[] | undefined;
  /** The start or the restart that is under way, or was the last. */
  #attempt: Promise<LoadedModel>;
  #shutdown: Promise<number> | undefined;
  #killAt = Number.POSITIVE_INFINITY;
  /** The pause before the next restart; aborted, it is over. */
  #pause = new AbortController();
  #waiting = 0;
  #readyAt: number | undefined;
  #retries = 0;

  constructor(plan: BackendPlan, owner: BackendOwner) {
    this.#plan = plan;
    this.#owner = owner;
    this.address = plan.address;
    this.#attempt = this.#try(this.#launch());
  }

  /** Whether it is what somebody wants to start. */
  is({ command, address }: BackendPlan): boolean {
    return (address ?? this.address) === this.address && isDeepStrictEqual(command, this.#plan.command);
  }

  /**
   * Waits for it to be ready; a pause before a restart is cut short. Where the signal is aborted, the start goes on for
   * others who wait for it, and is cancelled where nobody does.
   */
  async ready(signal?: AbortSignal): Promise<LoadedModel> {
    if (!this.model) this.#pause.abort();
    this.#waiting++;
    try {
      return await untilAborted(this.#attempt, signal).finally(() => this.#waiting--);
    } catch (error) {
      const isFirstStart = this.#readyAt === undefined;
      if (signal?.aborted && isFirstStart && this.#waiting === 0) {
        void this.shutdown(DEFAULT_TERMINATE_TIMEOUT_MS);
      }
      // A start that was cancelled is over when all of it is stopped.
      await this.#shutdown?.catch((cause: Error) => {
        throw new StartError(`${this.#startOf} was cancelled, but ${cause.message}`, { cause });
      });
      throw error;
    }
  }

  /**
   * Ends all of it, or cancels its start, and returns how many processes that were. Calls at the same time share one
   * shutdown, with the shortest patience of theirs.
   *
   * @throws {TerminateError} where a process is left.
   * @throws {BackendError} where something still answers at its address.
   */
  shutdown(timeoutMs: number): Promise<number> {
    this.shutdowns++;
    const killAt = performance.now() + timeoutMs;
    if (this.#shutdown && killAt < this.#killAt) this.#run?.terminate(timeoutMs).catch(() => {});
    this.#killAt = Math.min(this.#killAt, killAt);
    this.#shutdown ??= this.#stopAll(timeoutMs).finally(() => {
      this.#shutdown = undefined;
      this.#killAt = Number.POSITIVE_INFINITY;
    });
    this.ending = this.#shutdown;
    return this.#shutdown;
  }

  async #stopAll(timeoutMs: number): Promise<number> {
    this.#cancel.abort(new StartError(`${this.#startOf} was cancelled by a shutdown`));
    this.#pause.abort();
    const ended = this.#run ? await this.#clear(this.#run, timeoutMs) : 0;
    // Whatever it was at, it has taken notice.
    await this.#attempt.catch(() => {});
    this.model = undefined;
    this.#owner.gone();
    return ended;
  }

  get #isStopped(): boolean {
    return this.#cancel.signal.aborted;
  }

  /** Where an attempt comes to nothing that is the end, unless a shutdown sees to it. */
  #try(attempt: Promise<LoadedModel>): Promise<LoadedModel> {
    attempt.catch((error: Error) => {
      if (this.#isStopped) return;
      if (this.#readyAt !== undefined) this.#owner.failed(error);
      if (this.#run) this.#settle(Promise.reject(error));
      else this.#owner.gone();
    });
    return attempt;
  }

  /** It is not to be ready again. */
  #settle(ending: Promise<unknown>): void {
    ending.catch(() => {});
    this.ending = ending;
  }

  /** Starts it and waits until it is ready. Where it does not get there, everything of it is stopped. */
  async #launch(addressesLeft = MAX_ADDRESSES): Promise<LoadedModel> {
    const { name, command, readyTimeoutMs } = this.#plan;
    const address = await this.#chooseAddress();
    this.#cancel.signal.throwIfAborted();
    const run = this.#spawn(withAddress(command, address));
    this.#run = run;
    this.#sockets = undefined;
    try {
      await run.spawned;
      const model = { name, address, pid: run.pid, startTime: await run.identify() };
      const { createClient } = this.#owner;
      await untilHealthy(model, {
        createClient,
        timeoutMs: readyTimeoutMs,
        ended: run.exited,
        signal: this.#cancel.signal,
      });
      await run.lookAtTree();
      this.#sockets = listeningSockets(address);
      this.#cancel.signal.throwIfAborted();
      this.#readyAt = performance.now();
      this.#pause = new AbortController();
      run.wasReady = true;
      this.model = model;
      void run.exited.then(() => this.#onExit(run));
      return model;
    } catch (cause) {
      // What a shutdown cancels, it stops as well.
      this.#cancel.signal.throwIfAborted();
      const failure = await this.#stopUnready(run, cause as Error);
      // The address turned out to be another program's.
      if (this.address === undefined && addressesLeft > 1) return this.#launch(addressesLeft - 1);
      throw failure;
    }
  }

  async #chooseAddress(): Promise<string> {
    const isTaken = this.address !== undefined && (await isListening(this.address));
    if (isTaken && this.#plan.address !== undefined) {
      throw new StartError(
        `${this.#startOf} failed: something listens at ${quote(this.#plan.address)} already; end that, or leave out the ` +
          "address to have a free one chosen",
      );
    }
    if (isTaken || this.address === undefined) {
      await this.#owner.chooseAddress((address) => {
        this.address = address;
      });
    }
    return this.address as string;
  }

  #spawn(command: BackendCommand): BackendRun {
    try {
      return new BackendRun(command, this.#owner.output);
    } catch (cause) {
      throw new StartError(`${this.#startOf} failed: ${(cause as Error).message}`, { cause });
    }
  }

  /** Stops what did not get ready. Returns why it did not. */
  async #stopUnready(run: BackendRun, cause: Error): Promise<StartError> {
    const end = run.hasExited ? await run.end() : undefined;
    const left = await this.#clear(run, DEFAULT_TERMINATE_TIMEOUT_MS).then(
      () => undefined,
      (error: Error) => error,
    );
    const { stderr } = run;
    const reason = end ? howItEnded(end) : explainUnready(cause, this.#plan.command);
    const message =
      `${this.#startOf} failed: ${reason}` +
      (left && left.message !== reason ? `; ${left.message}` : "") +
      (stderr ? `; it wrote last to stderr:\n${stderr}` : "");
    return new StartError(message, { ...end, stderr, cause: left ?? cause });
  }

  /** Its process ended. Where nobody asked it to, what is left is cleared away, and it is started again if it may be. */
  #onExit(run: BackendRun): void {
    if (this.#shutdown) return;
    this.model = undefined;
    if (this.#isStopped) {
      // It was to be stopped, which failed, and ends now.
      this.#settle(this.#clear(run, DEFAULT_TERMINATE_TIMEOUT_MS).then(() => this.#owner.gone()));
      return;
    }
    const { restart } = this.#plan;
    if (restart) {
      const readyMs = performance.now() - (this.#readyAt ?? 0);
      if (readyMs > Math.max(STEADY_MS, restart.maxDelayMs)) this.#retries = 0;
      this.#attempt = this.#try(this.#restart(run, restart));
    } else {
      this.#settle(this.#bury(run));
    }
  }

  /** Reports the end of a run, and clears away what is left of it. */
  async #bury(run: BackendRun): Promise<void> {
    this.#owner.exited(await run.end());
    try {
      await this.#clear(run, DEFAULT_TERMINATE_TIMEOUT_MS);
      this.#owner.gone();
    } catch (cause) {
      const error = new Error(`model ${quote(this.#plan.name)} ended, but ${(cause as Error).message}`, {
        cause,
      });
      if (!this.#isStopped) this.#owner.failed(error);
      throw error;
    }
  }

  async #restart(run: BackendRun, { maxRetries, minDelayMs, maxDelayMs }: RestartPlan): Promise<LoadedModel> {
    const end = await run.end();
    this.#owner.exited(end);
    let last: Error = new StartError(howItEnded(end), end);
    for (let isFirst = true; ; isFirst = false) {
      try {
        // What could not be cleared away may be gone after the pause.
        if (this.#run) await this.#clear(this.#run, DEFAULT_TERMINATE_TIMEOUT_MS);
        if (!isFirst) return await this.#launch();
      } catch (error) {
        this.#cancel.signal.throwIfAborted();
        if (error instanceof StartError && hasEnded(error)) this.#owner.exited(error);
        last = error as Error;
      }
      if (this.#retries >= maxRetries) break;
      await this.#rest(Math.min(maxDelayMs, minDelayMs * 2 ** this.#retries++));
    }
    throw new StartError(
      `model ${quote(this.#plan.name)} is given up, as ${maxRetries} restarts in a row did not help; at last ${last.message}`,
      { ...(last instanceof StartError ? last : undefined), cause: last },
    );
  }

  /** Ends everything of a run, and sees that its address is free. Returns how many processes it ended. */
  async #clear(run: BackendRun, timeoutMs: number): Promise<number> {
    const ended = await run.terminate(timeoutMs);
    // What another program had taken first is none of its own.
    const wasChosen = this.#plan.address === undefined;
    if (wasChosen && !run.wasReady && saysAddressInUse(run.stderr)) this.address = undefined;
    const { address } = this;
    if (address !== undefined && !(await isFreed(address, this.#sockets))) {
      throw new BackendError(
        `every process of model ${quote(this.#plan.name)} that can be found is gone, but ${quote(detail(address))} ` +
          "still answers; end what listens there",
      );
    }
    if (this.#run === run) this.#run = undefined;
    return ended;
  }

  async #rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#pause.signal }).catch(() => {});
    this.#cancel.signal.throwIfAborted();
    this.#pause = new AbortController();
  }

  get #startOf(): string {
    return `the start of model ${quote(this.#plan.name)}`;
  }
}

/** The address stands where the command has `{address}`; where it has none, it comes last, as LocalAI puts it. */
function withAddress(command: BackendCommand, address: string): BackendCommand {
  const args = command.args.map((arg) => arg.replaceAll("{address}", () => address));
  const isPlaced = command.args.some((arg) => arg.includes("{address}"));
  return { ...command, args: isPlaced ? args : [...args, "--addr", address] };
}
