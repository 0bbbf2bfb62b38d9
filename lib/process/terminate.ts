import { setTimeout as delay } from "node:timers/promises";
import { checkOptions, checkValue, milliseconds, processId, processStart } from "../options.js";
import { killAtExit } from "./at-exit.js";
import type { ProcessEntry } from "./reader.js";
import { systemReader } from "./system.js";
import { TerminateError } from "./terminate-error.js";
import { type TrackedTree, trackTree } from "./track.js";

/** Options of {@link terminateProcessTree}. */
export interface TerminateOptions {
  /** The start time that the process must have; a process of another start time is left alone. Default: any. */
  startTime?: number | undefined;
  /** How long the processes may take to end by themselves before they are killed, in milliseconds. Default 10,000. */
  timeoutMs?: number | undefined;
}

/** The patience that `docker stop` has by default, too. */
export const DEFAULT_TERMINATE_TIMEOUT_MS = 10_000;

/** How long killed processes may take to be gone: the kernel has their memory to give back first. */
const KILL_TIMEOUT_MS = 5_000;
const KILL_NOW_TIMEOUT_MS = 1_000;

/**
 * Looking whether known processes are still there costs microseconds, looking for new ones milliseconds: the one
 * is done every `POLL_MS`, the other when the known ones are gone, and every `LOOK_MS` while they are not.
 */
const POLL_MS = 5;
const LOOK_MS = 100;

/** How long a tree is frozen for to have no new processes any more; then those that are there are killed. */
const FREEZE_TIMEOUT_MS = 1_000;

/**
 * What a process is sent, one stage after the other. At first it is continued, too, as systemd does it: a frozen process could
 * not end by itself. Then the whole tree is frozen before any of it is killed: what is frozen neither forks nor leaves
 * children to another parent, so that all of it is seen. Windows has neither signal.
 */
const STAGES: readonly (readonly NodeJS.Signals[])[] =
  process.platform === "win32"
    ? [["SIGTERM"], [], ["SIGKILL"]]
    : [["SIGTERM", "SIGCONT"], ["SIGSTOP"], ["SIGKILL"]];
const TERMINATE = 0;
const FREEZE = 1;
const KILL = 2;

/**
 * Ends a process and all its descendants: `SIGTERM` to each (and `SIGCONT`, for one that is frozen by `SIGSTOP`), then
 * patience, `SIGKILL` to whatever is left; it resolves once it has seen that nothing is, with the number of processes that it
 * ended. Where there is nothing to end, that is at once.
 *
 * ```ts
 * await terminateProcessTree(4711, { timeoutMs: 2_000 });
 * ```
 *
 * @throws {TerminateError} where something is left, or where this process itself or one of its ancestors is meant.
 * @throws {TypeError} where `pid` or an option is not what it should be.
 */
export async function terminateProcessTree(pid: number, options: TerminateOptions = {}): Promise<number> {
  checkValue("terminateProcessTree", pid, processId);
  checkOptions("terminateProcessTree", options, {
    startTime: processStart,
    timeoutMs: milliseconds,
  });
  const ended = await terminateTree(trackTree(pid, { startTime: options.startTime }), options.timeoutMs);
  return ended.length;
}

/** Ends what is left of a tree, and returns that; see {@link terminateProcessTree}. */
export async function terminateTree(
  tree: TrackedTree,
  timeoutMs = DEFAULT_TERMINATE_TIMEOUT_MS,
): Promise<ProcessEntry[]> {
  const killAt = performance.now() + timeoutMs;
  const giveUpAt = killAt + KILL_TIMEOUT_MS;
  const targets = new Targets();
  // Nothing is to be left frozen for ever, whatever happens in between.
  const forget = killAtExit(() => targets.killFrozen());
  try {
    for (let left = await tree.left(); left.length > 0; left = await tree.left()) {
      await refuseOwnTree(left);
      const isPatient = performance.now() < killAt;
      if (isPatient) targets.advance(left, TERMINATE);
      else if (!targets.freezeOrKill(left, killAt)) continue;

      // Nothing that is left got the signal: that is to be waited for only where others did, which may bring its end about.
      if (!targets.arePermitted(left) && !(isPatient && targets.arePermitted())) {
        throw await failure("the operating system does not permit to stop these processes", left, targets);
      }
      if (performance.now() >= giveUpAt) {
        throw await failure("these processes are still there after SIGKILL", left, targets);
      }
      await untilGone(left, Math.min(performance.now() + LOOK_MS, isPatient ? killAt : giveUpAt));
    }
    return targets.allBut([]);
  } finally {
    targets.killFrozen();
    forget();
  }
}

/** Kills what is left of a tree without a turn of the event loop in between, and waits a second at most for its end. */
export function killTreeNow(tree: TrackedTree): void {
  const killAt = performance.now();
  const targets = new Targets();
  try {
    // What needs no ids to be found goes first: reading those may hang.
    for (const withIds of [false, true]) {
      for (let left = tree.leftNow(withIds); left.length > 0; left = tree.leftNow(withIds)) {
        if (!targets.freezeOrKill(left, killAt)) continue;
        if (performance.now() >= killAt + KILL_NOW_TIMEOUT_MS) break;
        sleepNow(POLL_MS);
      }
    }
  } finally {
    targets.killFrozen();
  }
}

/** Processes that are sent signals, and what became of that. */
class Targets {
  readonly #reached = new Map<ProcessEntry, { readonly stage: number; readonly outcome: Outcome }>();
  /** Those that were frozen, and have not been killed yet. */
  readonly #frozen = new Set<ProcessEntry>();

  /** Sends them what they have not been sent yet. */
  advance(left: readonly ProcessEntry[], stage: number): void {
    for (const target of left.filter((process) => this.#stageOf(process) < stage)) {
      let outcome: Outcome = "sent";
      for (const signal of STAGES[stage] ?? []) if (outcome === "sent") outcome = send(target, signal);
      this.#reached.set(target, { stage, outcome });
      if (stage === FREEZE && outcome === "sent") this.#frozen.add(target);
      if (stage === KILL) this.#frozen.delete(target);
    }
  }

  /** Freezes them where some are new, and kills them once none is. Whether it did; otherwise one has to look again at once. */
  freezeOrKill(left: readonly ProcessEntry[], killAt: number): boolean {
    for (const process of this.#frozen) if (!left.includes(process)) this.#frozen.delete(process);
    const hasNew = left.some((target) => this.#stageOf(target) < FREEZE);
    const isFreezing = hasNew && performance.now() < killAt + FREEZE_TIMEOUT_MS;
    this.advance(left, isFreezing ? FREEZE : KILL);
    return !isFreezing;
  }

  killFrozen(): void {
    for (const target of [...this.#frozen].filter(mayBeThere)) {
      try {
        process.kill(target.pid, "SIGKILL");
      } catch {
        // Somebody else has ended it.
      }
    }
    this.#frozen.clear();
  }

  allBut(left: readonly ProcessEntry[]): ProcessEntry[] {
    return [...this.#reached.keys()].filter((process) => !left.includes(process));
  }

  /** Whether any of these may be sent signals; without an argument, any at all. */
  arePermitted(left: Iterable<ProcessEntry> = this.#reached.keys()): boolean {
    return [...left].some((target) => this.#reached.get(target)?.outcome !== "denied");
  }

  #stageOf(target: ProcessEntry): number {
    return this.#reached.get(target)?.stage ?? -1;
  }
}

/** What becomes of a signal. A process that has ended takes none, and needs none. */
type Outcome = "sent" | "gone" | "denied";

async function untilGone(processes: readonly ProcessEntry[], deadline: number): Promise<void> {
  while (performance.now() < deadline && processes.some(systemReader.isStillThere)) await delay(POLL_MS);
}

/** This process, or one that it descends from, is no backend: a wrong process id was handed in. */
async function refuseOwnTree(left: readonly ProcessEntry[]): Promise<void> {
  const own = left.filter(({ pid }) => pid === process.pid);
  if (own.length > 0) throw await failure("this is the server itself, or a process that started it", own);
}

async function failure(
  reason: string,
  left: readonly ProcessEntry[],
  targets?: Targets,
): Promise<TerminateError> {
  return new TerminateError(reason, await systemReader.named(left), targets?.allBut(left).length);
}

function send(target: ProcessEntry, signal: NodeJS.Signals): Outcome {
  // Its id may belong to another process since the tree was read.
  if (!systemReader.isStillThere(target)) return "gone";
  try {
    process.kill(target.pid, signal);
    return "sent";
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EPERM") return "denied";
    if (code === "ESRCH") return "gone";
    throw error;
  }
}

/** Where the process table can't be read any more, a process that was just frozen is still the one that it was. */
function mayBeThere(target: ProcessEntry): boolean {
  try {
    return systemReader.isStillThere(target);
  } catch {
    return true;
  }
}

/** Waits without a turn of the event loop. */
function sleepNow(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
