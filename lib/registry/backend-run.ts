import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { withDeadline } from "../deadline.js";
import { killAtExit } from "../process/at-exit.js";
import { environmentWithId } from "../process/identity.js";
import { processStartTime } from "../process/system.js";
import { killTreeNow, terminateTree } from "../process/terminate.js";
import { type TrackedTree, trackTree } from "../process/track.js";
import { RecentOutput } from "./recent-output.js";

/** What is started. */
export interface BackendCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string | undefined;
}

/** How a backend's process ended. */
export interface RunEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last lines that it wrote to stderr. */
  readonly stderr: string;
}

const STDERR_BYTES = 8 * 1024;
const STDERR_LINES = 20;

/** How long the pipes of a process that has ended are read: another one may hold them open for ever. */
const OUTPUT_END_MS = 500;

/** The start time of a process that had ended before that was read: no process has it. */
const NEVER_STARTED = -1;

/** One run of a backend: its process, and all that comes from it, from the start until nothing of it is left. */
export class BackendRun {
  /** `undefined` where the command could not be started. */
  readonly pid: number | undefined;
  /** Rejects where the command could not be started. */
  readonly spawned: Promise<unknown>;
  /** Resolves when the process itself has ended; what it has started may still be there. */
  readonly exited: Promise<unknown>;
  /** Which, with the pid, tells the process from any other. */
  readonly startTime: Promise<number>;
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  readonly #stderr = new RecentOutput(STDERR_BYTES);
  readonly #tree: Promise<TrackedTree>;
  readonly #keepAtExit: () => void;

  /** Starts the command, without a shell. */
  constructor({ command, args, env, cwd }: BackendCommand, output: RecentOutput) {
    const id = randomUUID();
    const child = spawn(command, args, {
      cwd,
      env: environmentWithId({ ...process.env, ...env }, id),
      stdio: ["ignore", "pipe", "pipe"],
      windowsHide: true,
    });
    this.#child = child;
    this.pid = child.pid;
    this.spawned = once(child, "spawn");
    this.exited = new Promise((resolve) => child.once("exit", resolve));
    this.#closed = new Promise((resolve) => child.once("close", resolve));

    // Read all the time, so that it never waits for a full pipe. Where there are no file descriptors left, there are no
    // pipes either.
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => output.append(chunk)).on("error", () => {});
    }
    child.stderr?.on("data", (chunk: Buffer) => this.#stderr.append(chunk));

    this.startTime = this.#readStartTime();
    let tree: TrackedTree | undefined;
    this.#tree = this.startTime.then((startTime) => {
      tree = trackTree(child.pid as number, { startTime, id });
      return tree;
    });
    this.#keepAtExit = killAtExit(() => {
      if (tree) killTreeNow(tree);
      child.kill("SIGKILL");
    });
    child.on("error", () => {});
    for (const promise of [this.spawned, this.startTime, this.#tree]) promise.catch(() => {});
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
    await (await this.#tree).left();
  }

  /**
   * Ends all that is left of it; see `terminateProcessTree`.
   *
   * @throws {TerminateError} where something is left.
   */
  async terminate(timeoutMs: number): Promise<void> {
    if (this.pid !== undefined) {
      const tree = await this.#tree.catch((error) => {
        // Without a process table, this one can be ended all the same.
        this.#child.kill("SIGKILL");
        throw error;
      });
      await terminateTree(tree, timeoutMs);
      await this.end();
    }
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
    this.#keepAtExit();
  }

  async #readStartTime(): Promise<number> {
    if (this.pid === undefined) return NEVER_STARTED;
    const startTime = await processStartTime(this.pid);
    // Where it has ended by now, its id may belong to another process.
    return startTime === undefined || this.hasExited ? NEVER_STARTED : startTime;
  }

  async #outputEnd(): Promise<void> {
    await withDeadline(
      OUTPUT_END_MS,
      () => this.#closed,
      () => new Error("the pipes are held open"),
    ).catch(() => {});
  }
}
