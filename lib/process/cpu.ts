/** The CPU time that a tree has used, counted on from one reading to the next. */
import type { ProcessUsage, SameStart } from "./reader.js";

/** Where the CPU time of a tree stood at some time. */
export interface CpuReading {
  /** Milliseconds, on a clock that never jumps. */
  readonly at: number;
  /** CPU time since the first process was started, as far as it was seen, in milliseconds. */
  readonly usedMs: number;
  readonly usage: readonly ProcessUsage[];
  /** As they were at the reading before, and are not there any more. */
  readonly gone: readonly ProcessUsage[];
  /** How much of their time no parent had at this reading, in milliseconds. */
  readonly owedMs: number;
}

export interface CpuHistory {
  /** What the figure in percent was measured from; `undefined` is the start of the process. */
  readonly base: CpuReading | undefined;
  /** What a later figure is measured from, once it is old enough. */
  readonly latest: CpuReading;
  /** The last of all. It may be too young to measure from. */
  readonly newest: CpuReading;
}

/**
 * The shortest time over which CPU is measured. Linux counts it in steps of 10 ms, so that over 250 ms a figure is
 * right to 4 % of a core for each process. Where the previous sample is younger, the one before it is measured from.
 */
const SHORTEST_CPU_INTERVAL_MS = 250;

const NOTHING: CpuReading = { at: 0, usedMs: 0, usage: [], gone: [], owedMs: 0 };

/** Adds a reading; the first one where there is no history. */
export function continueHistory(
  sameStart: SameStart,
  before: CpuHistory | undefined,
  at: number,
  usage: readonly ProcessUsage[],
): CpuHistory {
  const newest = count(sameStart, before?.newest ?? NOTHING, at, usage);
  if (!before) return { base: undefined, latest: newest, newest };
  const { base, latest } = before;
  const isOldEnough = at - latest.at >= SHORTEST_CPU_INTERVAL_MS;
  return isOldEnough ? { base: latest, latest: newest, newest } : { base, latest, newest };
}

/** 100 is one core fully used; `null` where there is no time to measure over. */
export function cpuPercent({ base, newest }: CpuHistory, ageMs: number): number | null {
  const elapsedMs = base ? newest.at - base.at : ageMs;
  if (!(elapsedMs > 0)) return null;
  return (100 * (newest.usedMs - (base?.usedMs ?? 0))) / elapsedMs;
}

/**
 * When a child has ended and its parent waits for it, its whole time moves to the parent's `reapedCpuMs`; what of that was
 * counted before is taken off again. It is owed until the next reading: a parent is read before its children, and one that
 * ends in between is gone before the parent is seen to have its time. And until then those that are gone are remembered:
 * one may have been missed alone, as another ended while `/proc` listed them.
 */
function count(
  sameStart: SameStart,
  before: CpuReading,
  at: number,
  usage: readonly ProcessUsage[],
): CpuReading {
  const last = new Map([...before.gone, ...before.usage].map((reading) => [reading.pid, reading]));
  let usedMs = 0;
  let reapedMs = 0;
  for (const reading of usage) {
    const earlier = last.get(reading.pid);
    if (earlier && sameStart(earlier.startTime, reading.startTime)) {
      usedMs += reading.cpuMs - earlier.cpuMs;
      reapedMs += reading.reapedCpuMs - earlier.reapedCpuMs;
      last.delete(reading.pid);
    } else usedMs += wholeMs([reading]);
  }
  const isGone = (reading: ProcessUsage) => last.get(reading.pid) === reading;
  const gone = before.usage.filter(isGone);
  const returned = before.gone.filter((reading) => !isGone(reading));
  const owedMs = Math.max(0, before.owedMs - wholeMs(returned));
  const unseenMs = reapedMs - owedMs - wholeMs(gone);
  return {
    at,
    usedMs: before.usedMs + Math.max(0, usedMs) + Math.max(0, unseenMs),
    usage,
    gone,
    owedMs: Math.min(wholeMs(gone), Math.max(0, -unseenMs)),
  };
}

function wholeMs(usage: readonly ProcessUsage[]): number {
  return usage.reduce((total, { cpuMs, reapedCpuMs }) => total + cpuMs + reapedCpuMs, 0);
}
