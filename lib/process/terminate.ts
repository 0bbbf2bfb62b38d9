import { setTimeout as delay } from "node:timers/promises";
import { describe, quote } from "../message.js";
import { checkOptions, milliseconds, processId } from "../options.js";
import type { ProcessEntry } from "./reader.js";
import { systemReader } from "./system.js";
import { isSameProcess, withDescendants } from "./tree.js";

/** Options of {@link terminateProcessTree}. */
export interface TerminateOptions {
  /** The start time that the process must have; a process of another start time is left alone. */
  startTime?: number | undefined;
  /** How long the processes may take to end by themselves before they are killed, in milliseconds. Default 10,000. */
  timeoutMs?: number | undefined;
}

/** The patience that `docker stop` has by default, too. */
export const DEFAULT_TERMINATE_TIMEOUT_MS = 10_000;

/** How long a killed process may take to be gone: the kernel has its memory to give back first. */
const KILL_TIMEOUT_MS = 5_000;
const POLL_MS = 20;

/** Processes were left that could not be ended. */
export class TerminateError extends Error {
  override readonly name = "TerminateError";
  readonly processes: readonly { readonly pid: number; readonly command: string }[];

  constructor(reason: string, left: readonly ProcessEntry[]) {
    const names = left.map(({ pid, command }) => `${pid} (${quote(command)})`);
    super(`${reason}: ${names.join(", ")}`);
    this.processes = left.map(({ pid, command }) => ({ pid, command }));
  }
}

/**
 * Ends a process and all its descendants: `SIGTERM` to each, then patience, `SIGKILL` to whatever is left; it
 * resolves once it has seen that nothing is. Where there is nothing to end, that is at once.
 *
 * @throws {TerminateError} where something is left, or where this process itself or one of its ancestors is meant.
 * @throws {TypeError} where `pid` or an option is not what it should be.
 */
export async function terminateProcessTree(pid: number, options: TerminateOptions = {}): Promise<void> {
  checkOptions("terminateProcessTree", options, {
    startTime: { takes: "a number, as processStartTime() gives it", accepts: Number.isFinite },
    timeoutMs: milliseconds,
  });
  const tree = trackTree(pid, options.startTime);
  await terminateTree(tree, options.timeoutMs);
}

/** A tree of which a process stays known when its parent has ended and it has been handed to another. */
export interface TrackedTree {
  /**
   * The processes of the tree that are there now, each the same object as long as it is the same process. What has
   * come since the last call is among them.
   */
  left(): Promise<ProcessEntry[]>;
}

export function trackTree(pid: number, startTime?: number): TrackedTree {
  if (!processId.accepts(pid)) {
    throw new TypeError(`a process tree is named by ${processId.takes}; got ${describe(pid)}`);
  }
  const { sameStart } = systemReader;
  let known: Map<number, ProcessEntry> | undefined;

  function knownAs(process: ProcessEntry): ProcessEntry | undefined {
    const entry = known?.get(process.pid);
    return entry && isSameProcess(sameStart, entry, process) ? entry : undefined;
  }
  function isRoot(process: ProcessEntry): boolean {
    return process.pid === pid && (startTime === undefined || sameStart(process.startTime, startTime));
  }
  return {
    async left() {
      const isFirst = known === undefined;
      const found = withDescendants(
        sameStart,
        await systemReader.table(),
        isFirst ? isRoot : (p) => !!knownAs(p),
      );
      if (isFirst && found.length === 0) await refuseHidden(pid);
      const tree = found.map((process) => knownAs(process) ?? process);
      known = new Map(tree.map((process) => [process.pid, process]));
      return tree;
    },
  };
}

/** A process that the system hides from this user is not gone. */
async function refuseHidden(pid: number): Promise<void> {
  try {
    await systemReader.find(pid);
  } catch {
    const hidden = { pid, ppid: 0, startTime: 0, command: "?" };
    throw new TerminateError("the operating system does not show this process", [hidden]);
  }
}

/** Ends what is left of a tree; see {@link terminateProcessTree}. */
export async function terminateTree(
  tree: TrackedTree,
  timeoutMs = DEFAULT_TERMINATE_TIMEOUT_MS,
): Promise<void> {
  const killAt = performance.now() + timeoutMs;
  const giveUpAt = killAt + KILL_TIMEOUT_MS;
  const signalled = new Map<ProcessEntry, Signalled>();

  for (;;) {
    const left = await tree.left();
    if (left.length === 0) return;
    refuseOwnTree(left);

    const signal = performance.now() < killAt ? "SIGTERM" : "SIGKILL";
    for (const target of left) {
      if (signalled.get(target)?.signal === signal) continue;
      signalled.set(target, { signal, permitted: send(target, signal) });
    }
    // Nothing that is left got the signal, so there is nothing to wait for.
    if (left.every((target) => !signalled.get(target)?.permitted)) {
      throw new TerminateError("the operating system does not permit to stop these processes", left);
    }
    if (performance.now() >= giveUpAt) {
      throw new TerminateError("these processes are still there after SIGKILL", left);
    }
    await delay(POLL_MS);
  }
}

/** The last signal that a process was sent. */
interface Signalled {
  readonly signal: NodeJS.Signals;
  readonly permitted: boolean;
}

/** This process, or one that it descends from, is no backend: a wrong process id was handed in. */
function refuseOwnTree(left: readonly ProcessEntry[]): void {
  const own = left.filter(({ pid }) => pid === process.pid);
  if (own.length > 0)
    throw new TerminateError("this is the server itself, or a process that started it", own);
}

/** Whether the signal was permitted. A process that has ended in the meantime takes no signal, and needs none. */
function send(target: ProcessEntry, signal: NodeJS.Signals): boolean {
  // Its id may belong to another process since the tree was read.
  if (!systemReader.isStillThere(target)) return true;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EPERM") return false;
    if (code === "ESRCH") return true;
    throw error;
  }
}
