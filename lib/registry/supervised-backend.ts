import { setTimeout as delay } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { BackendCallError, type BackendClientFactory } from "../backend/client.js";
import { Connections, callBackend } from "../backend/connections.js";
import { untilAborted, withDeadline } from "../deadline.js";
import { BackendError } from "../errors.js";
import { quote } from "../message.js";
import { isFreed, isListening, onThisMachine } from "../process/address.js";
import { DEFAULT_TERMINATE_TIMEOUT_MS } from "../process/terminate.js";
import { type BackendCommand, BackendRun, type RunEnd } from "./backend-run.js";
import type { RecentOutput } from "./recent-output.js";
import type { LoadedModel } from "./registry.js";
import { StartError } from "./start-error.js";

/** A backend to start. */
export interface BackendPlan {
  readonly name: string;
  readonly command: BackendCommand;
  /** `undefined` where it may be given any that is free. */
  readonly address: string | undefined;
  readonly readyTimeoutMs: number;
  /** `undefined` where it is not started again. */
  readonly restart: RestartPlan | undefined;
}

export interface RestartPlan {
  readonly maxRetries: number;
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
}

/** What a backend needs of its supervisor, and tells it. */
export interface BackendOwner {
  readonly createClient: BackendClientFactory;
  readonly output: RecentOutput;
  /** A free address that no other backend has been given. */
  chooseAddress(): Promise<string>;
  /** Its process ended, and nobody asked it to. */
  exited(end: RunEnd): void;
  /** It was ready once, and is not to be again: it was started in vain too often, or something of it can't be stopped. */
  failed(error: Error): void;
  /** Nothing of it is left. */
  gone(): void;
}

/** How often a backend that is starting is asked whether it is ready, and how long it may take to say so. */
const HEALTH_POLL_MS = 50;
const HEALTH_TIMEOUT_MS = 2_000;

/** One backend from its first start until nothing of it is left, over all its restarts. */
export class SupervisedBackend {
  /** Set while it is ready; and after that, where it was to be stopped and something of it is left. */
  model: LoadedModel | undefined;
  /** Where it listens, or is going to; `undefined` until that is chosen. */
  address: string | undefined;
  /** Set once it is not to be ready again. Resolves when nothing of it is left; rejects where something is. */
  ending: Promise<void> | undefined;

  readonly #plan: BackendPlan;
  readonly #owner: BackendOwner;
  readonly #stop = new AbortController();
  #run: BackendRun | undefined;
  /** The start or the restart that is under way, or was the last. */
  #attempt: Promise<LoadedModel>;
  #shutdown: Promise<void> | undefined;
  /** The pause before a restart; aborted, it is over. */
  #pause = new AbortController();
  #waiting = 0;
  #readyAt: number | undefined;
  #retries = 0;
  /** Something of the last run may be there. */
  #isLeft = false;

  constructor(plan: BackendPlan, owner: BackendOwner) {
    this.#plan = plan;
    this.#owner = owner;
    this.#attempt = this.#try(this.#launch());
  }

  /** Whether it is what somebody wants to start. */
  is({ command, address }: BackendPlan): boolean {
    const isThere = address === undefined || address === (this.#plan.address ?? this.address);
    return isThere && isDeepStrictEqual(command, this.#plan.command);
  }

  /**
   * Waits for it to be ready; a pause before a restart is cut short. Where the signal is aborted, the start goes on for
   * others who wait for it, and is cancelled where nobody does.
   */
  async ready(signal?: AbortSignal): Promise<LoadedModel> {
    this.#pause.abort();
    this.#waiting++;
    try {
      return await untilAborted(this.#attempt, signal);
    } catch (error) {
      const isFirstStart = this.#readyAt === undefined;
      if (signal?.aborted && isFirstStart && this.#waiting === 1) {
        void this.shutdown(DEFAULT_TERMINATE_TIMEOUT_MS);
      }
      // A start that was cancelled is over when all of it is stopped.
      await this.#shutdown?.catch((cause: Error) => {
        throw new StartError(`${this.#start} was cancelled, but ${cause.message}`, { cause });
      });
      throw error;
    } finally {
      this.#waiting--;
    }
  }

  /**
   * Ends all of it, or cancels its start. Calls at the same time share one shutdown.
   *
   * @throws {TerminateError} where a process is left.
   * @throws {BackendError} where something still answers at its address.
   */
  shutdown(timeoutMs: number): Promise<void> {
    this.#shutdown ??= this.#stopAll(timeoutMs).finally(() => {
      this.#shutdown = undefined;
    });
    this.ending = this.#shutdown;
    return this.#shutdown;
  }

  async #stopAll(timeoutMs: number): Promise<void> {
    this.#stop.abort(new StartError(`${this.#start} was cancelled by a shutdown`));
    this.#pause.abort();
    if (this.#run) await this.#clear(this.#run, timeoutMs);
    // Whatever it was at, it has taken notice.
    await this.#attempt.catch(() => {});
    this.model = undefined;
    this.#owner.gone();
  }

  get #isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Where an attempt comes to nothing that is the end, unless a shutdown sees to it. */
  #try(attempt: Promise<LoadedModel>): Promise<LoadedModel> {
    attempt.catch((error: Error) => {
      if (!this.#isStopped) this.#giveUp(error);
    });
    return attempt;
  }

  #giveUp(error: Error): void {
    if (this.#readyAt !== undefined) this.#owner.failed(error);
    if (this.#isLeft) {
      this.ending = Promise.reject(error);
      this.ending.catch(() => {});
    } else {
      this.#owner.gone();
    }
  }

  /** Starts it and waits until it is ready. Where it does not get there, everything of it is stopped. */
  async #launch(): Promise<LoadedModel> {
    const { name, command } = this.#plan;
    this.address = await this.#chooseAddress();
    this.#stop.signal.throwIfAborted();
    const run = this.#spawn(withAddress(command, this.address));
    this.#run = run;
    try {
      await run.spawned;
      const model = { name, address: this.address, pid: run.pid, startTime: await run.startTime };
      await this.#untilHealthy(run, model);
      await run.lookAtTree();
      this.#readyAt = performance.now();
      this.model = model;
      void run.exited.then(() => this.#onExit(run));
      return model;
    } catch (cause) {
      // What a shutdown cancels, it stops as well.
      this.#stop.signal.throwIfAborted();
      throw await this.#stopUnready(run, cause as Error);
    }
  }

  async #chooseAddress(): Promise<string> {
    const known = this.#plan.address ?? this.address;
    if (known !== undefined && !(await isListening(known))) return known;
    if (this.#plan.address === undefined) return this.#owner.chooseAddress();
    throw new StartError(
      `${this.#start} failed: something listens at ${quote(this.#plan.address)} already; end that, or leave out the ` +
        "address to have a free one chosen",
    );
  }

  #spawn(command: BackendCommand): BackendRun {
    try {
      return new BackendRun(command, this.#owner.output);
    } catch (cause) {
      throw new StartError(`${this.#start} failed: ${(cause as Error).message}`, { cause });
    }
  }

  /** Resolves once `Health` says `OK`. */
  async #untilHealthy(run: BackendRun, model: LoadedModel): Promise<void> {
    const { name, readyTimeoutMs } = this.#plan;
    const stopped = this.#stop.signal;
    const over = new AbortController();
    const onStop = () => over.abort(stopped.reason);
    stopped.addEventListener("abort", onStop);
    if (stopped.aborted) onStop();
    void run.exited.then(() => over.abort(new Error("its process ended")));

    const isLocal = onThisMachine(model.address) !== undefined;
    let health = `nothing listens at ${quote(model.address)}`;
    const connections = new Connections(this.#owner.createClient);
    const poll = async (signal: AbortSignal) => {
      const client = connections.open(name, model);
      for (; ; await delay(HEALTH_POLL_MS, undefined, { signal })) {
        // After a refused connection gRPC takes a rest; this asks without one.
        if (isLocal && !(await isListening(model.address))) continue;
        try {
          if (await callBackend(HEALTH_TIMEOUT_MS, (until) => client.health(until), signal)) return;
          health = "its Health does not reply OK";
        } catch (error) {
          const { code, message } = BackendCallError.from(error);
          health = `its Health call fails (${code}: ${message})`;
        }
      }
    };
    const late = () => new Error(`it was not ready within ${readyTimeoutMs} ms: ${health}`);
    try {
      await withDeadline(readyTimeoutMs, poll, late, over.signal);
      over.signal.throwIfAborted();
    } finally {
      stopped.removeEventListener("abort", onStop);
      connections.close(name);
    }
  }

  /** Stops what did not get ready. Returns why it did not. */
  async #stopUnready(run: BackendRun, cause: Error): Promise<StartError> {
    const end = run.hasExited ? await run.end() : undefined;
    const left = await this.#clear(run, DEFAULT_TERMINATE_TIMEOUT_MS).catch((error: Error) => error);
    const { stderr } = run;
    const message =
      `${this.#start} failed: ${end ? howItEnded(end) : explain(cause, this.#plan.command)}` +
      (left ? `; ${left.message}` : "") +
      (stderr ? `; it wrote last to stderr:\n${stderr}` : "");
    return new StartError(message, { ...end, stderr, cause: left ?? cause });
  }

  /** Its process ended. Where nobody asked it to, what is left is cleared away, and it is started again if it may be. */
  #onExit(run: BackendRun): void {
    if (this.#isStopped) return;
    this.model = undefined;
    const { restart } = this.#plan;
    if (!restart) {
      this.ending = this.#bury(run).then(() => this.#owner.gone());
      this.ending.catch((error) => this.#owner.failed(error));
      return;
    }
    const readyMs = performance.now() - (this.#readyAt ?? 0);
    if (readyMs > restart.maxDelayMs) this.#retries = 0;
    this.#attempt = this.#try(this.#restart(run, restart));
  }

  async #restart(run: BackendRun, policy: RestartPlan): Promise<LoadedModel> {
    const { maxRetries, minDelayMs, maxDelayMs } = policy;
    let reason = howItEnded(await this.#bury(run));
    while (this.#retries < maxRetries) {
      await this.#rest(Math.min(maxDelayMs, minDelayMs * 2 ** this.#retries++));
      try {
        return await this.#launch();
      } catch (error) {
        if (this.#isStopped || this.#isLeft || !(error instanceof StartError)) throw error;
        if (error.code !== null || error.signal !== null) this.#owner.exited(error);
        reason = error.message;
      }
    }
    throw new Error(
      `model ${quote(this.#plan.name)} is given up, as ${maxRetries} restarts in a row did not help; at last ${reason}`,
    );
  }

  /** Reports the end of a run that nobody asked for, and clears away what is left of it. */
  async #bury(run: BackendRun): Promise<RunEnd> {
    const end = await run.end();
    this.#owner.exited(end);
    await this.#clear(run, DEFAULT_TERMINATE_TIMEOUT_MS);
    return end;
  }

  /** Ends everything of a run, and sees that its address is free. */
  async #clear(run: BackendRun, timeoutMs: number): Promise<void> {
    this.#isLeft = true;
    await run.terminate(timeoutMs);
    if (this.address !== undefined && !(await isFreed(this.address))) {
      throw new BackendError(
        `every process of model ${quote(this.#plan.name)} that can be found is gone, but ${quote(this.address)} still ` +
          "answers; end what listens there",
      );
    }
    this.#isLeft = false;
  }

  async #rest(ms: number): Promise<void> {
    this.#pause = new AbortController();
    if (this.#isStopped) this.#pause.abort();
    await delay(ms, undefined, { signal: this.#pause.signal }).catch(() => {});
    this.#stop.signal.throwIfAborted();
  }

  get #start(): string {
    return `the start of model ${quote(this.#plan.name)}`;
  }
}

/** The address stands where the command has `{address}`; where it has none, it comes last, as LocalAI puts it. */
function withAddress(command: BackendCommand, address: string): BackendCommand {
  const args = command.args.map((arg) => arg.replaceAll("{address}", () => address));
  const isPlaced = command.args.some((arg) => arg.includes("{address}"));
  return { ...command, args: isPlaced ? args : [...args, "--addr", address] };
}

function howItEnded({ code, signal }: RunEnd): string {
  return signal === null ? `its process exited with code ${code}` : `its process was ended by ${signal}`;
}

/** What kept a command from being started, or a backend from being ready. */
function explain(cause: Error, { command, cwd }: BackendCommand): string {
  const { code, syscall = "" } = cause as NodeJS.ErrnoException;
  if (!syscall.startsWith("spawn")) return cause.message;
  const folder = cwd === undefined ? "" : `, and is there a folder ${quote(cwd)}`;
  const hint = code === "ENOENT" ? `; is it installed${folder}?` : "";
  return `${quote(command)} can't be started (${code})${hint}`;
}
