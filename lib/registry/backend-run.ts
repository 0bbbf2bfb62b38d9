import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { withDeadline } from "../deadline.js";
import { killAtExit } from "../process/at-exit.js";
import { environmentWithId } from "../process/identity.js";
import { NEVER_STARTED, processStartTime } from "../process/system.js";
import { killTreeNow, terminateTree } from "../process/terminate.js";
import { type TrackedTree, trackTree } from "../process/track.js";
import type { BackendCommand } from "./plan.js";
import { RecentOutput } from "./recent-output.js";

/** How a backend's process ended. */
export interface RunEnd {
  /** The code that it exited with; `null` where a signal ended it. */
  readonly code: number | null;
  /** The signal that ended it; `null` where none did. */
  readonly signal: NodeJS.Signals | null;
  /** The last lines that it wrote to stderr. */
  readonly stderr: string;
}

const STDERR_BYTES = 8 * 1024;
const STDERR_LINES = 20;

/** How long the pipes of a process that has ended are read: another one may hold them open for ever. */
const OUTPUT_END_MS = 500;

/** One run of a backend: its process, and all that comes from it, from the start until nothing of it is left. */
export class BackendRun {
  /** `undefined` where the command could not be started. */
  readonly pid: number | undefined;
  /** Rejects where the command could not be started. */
  readonly spawned: Promise<unknown>;
  /** Resolves when the process itself has ended; what it has started may still be there. */
  readonly exited: Promise<unknown>;
  /** Set by its owner. */
  wasReady = false;
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  readonly #stderr = new RecentOutput(STDERR_BYTES);
  readonly #id = randomUUID();
  readonly #forgetAtExit: () => void;
  #startTime: Promise<number> | undefined;
  #tree: TrackedTree | undefined;

  /** Starts the command, without a shell. */
  constructor({ command, args, env, cwd }: BackendCommand, output: RecentOutput) {
    const child = spawn(command, args, {
      cwd,
      env: environmentWithId({ ...process.env, ...env }, this.#id),
      stdio: ["ignore", "pipe", "pipe"],
      windowsHide: true,
    });
    this.#child = child;
    this.pid = child.pid;
    this.spawned = once(child, "spawn");
    this.spawned.catch(() => {});
    child.on("error", () => {});
    this.exited = new Promise((resolve) => child.once("exit", resolve));
    this.#closed = new Promise((resolve) => child.once("close", resolve));

    // Read all the time, so that it never waits for a full pipe. Where there are no file descriptors left, there are no
    // pipes either.
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => output.append(chunk)).on("error", () => {});
    }
    child.stderr?.on("data", (chunk: Buffer) => this.#stderr.append(chunk));

    this.#forgetAtExit = killAtExit(() => this.#killNow());
    // Now, as it can't have been reaped yet, so that the process of its id is surely this one.
    this.#track().catch(() => {});
  }

  /**
   * Resolves with the start time of the process, which with its pid tells it from any other.
   *
   * @throws where the process table can't be read.
   */
  identify(): Promise<number> {
    this.#startTime ??= this.#readStartTime().catch((error) => {
      // The next call may have better luck.
      this.#startTime = undefined;
      throw error;
    });
    return this.#startTime;
  }

  /** Whether the process was there, and has ended. */
  get hasExited(): boolean {
    return this.pid !== undefined && (this.#child.exitCode !== null || this.#child.signalCode !== null);
  }

  /** How the process ended, once it has. */
  async end(): Promise<RunEnd> {
    await this.exited;
    await this.#outputEnd();
    return { code: this.#child.exitCode, signal: this.#child.signalCode, stderr: this.stderr };
  }

  /** The last lines of stderr so far. */
  get stderr(): string {
    return this.#stderr.toString().trimEnd().split("\n").slice(-STDERR_LINES).join("\n");
  }

  /** Takes notice of the processes that are there, so that they stay known, whatever becomes of their parents. */
  async lookAtTree(): Promise<void> {
    await (await this.#track()).left();
  }

  /**
   * Ends all that is left of it, and returns how many processes that was; see `terminateProcessTree`.
   *
   * @throws {TerminateError} where something is left.
   */
  async terminate(timeoutMs: number): Promise<number> {
    let ended = 0;
    if (this.pid !== undefined) {
      const tree = await this.#track().catch((error) => {
        // Without a process table, this one can be ended all the same.
        this.#child.kill("SIGKILL");
        throw error;
      });
      ended = (await terminateTree(tree, timeoutMs)).length;
      await this.end();
    }
    this.#closePipes();
    this.#forgetAtExit();
    return ended;
  }

  async #track(): Promise<TrackedTree> {
    const startTime = await this.identify();
    this.#tree ??= trackTree(this.pid as number, { startTime, id: this.#id });
    return this.#tree;
  }

  async #readStartTime(): Promise<number> {
    if (this.pid === undefined || this.hasExited) return NEVER_STARTED;
    const startTime = await processStartTime(this.pid).catch((cause: Error) => {
      throw new Error(`the process table can't be read (${cause.message})`, { cause });
    });
    // Where it has ended by now, its id may belong to another process.
    return startTime === undefined || this.hasExited ? NEVER_STARTED : startTime;
  }

  #killNow(): void {
    // Reading the process table takes file descriptors, and these are no longer needed.
    this.#closePipes();
    try {
      if (this.#tree) killTreeNow(this.#tree);
    } finally {
      this.#child.kill("SIGKILL");
    }
  }

  #closePipes(): void {
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
  }

  async #outputEnd(): Promise<void> {
    await withDeadline(
      OUTPUT_END_MS,
      () => this.#closed,
      () => new Error("the pipes are held open"),
    ).catch(() => {});
  }
}
