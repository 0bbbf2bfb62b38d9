import { totalmem } from "node:os";
import { checkOptions, checkValue, type OptionCheck, processId, processStart } from "../options.js";
import type { ProcessReader, ProcessTree, ProcessUsage } from "./reader.js";
import { systemReader } from "./system.js";

/** What a process and all its descendants cost. */
export interface ProcessSample {
  /** The id of the process itself. */
  readonly pid: number;
  /** As {@link processStartTime} gives it. */
  readonly startTime: number;
  readonly startedAt: number;
  readonly cpuMs: number;
  /** How many processes the tree has. */
  readonly processes: number;
  /** Bytes in memory, summed over the tree. A page that two processes share counts twice. */
  readonly rss: number;
  /** Bytes of address space, summed over the tree; `null` where the system does not tell. */
  readonly vms: number | null;
  /**
   * What `rss` is made of, in bytes: on Linux `anonymous`, `file` (mapped files: the weights of a model that is
   * mapped into memory) and `shared`; elsewhere `rss` alone. The parts add up to `rss`.
   */
  readonly breakdown: Readonly<Record<string, number>>;
  /** `100 × rss ÷ the machine's physical memory`. */
  readonly memoryPercent: number;
  /**
   * 100 is one core fully used, summed over the tree: over the time since the previous sample, or since the process
   * started where there is none. `null` where the system does not tell how old the process is.
   */
  readonly cpuPercent: number | null;
  /** For the next sample, which goes on from here. Nothing to read. */
  readonly history: SampleHistory;
}

/** Options of {@link sampleProcess}. */
export interface SampleOptions {
  /** The start time that the process must have; with another one it is not the process that is meant. Default: any. */
  startTime?: number | undefined;
  /** The sample of the same process that was taken before this one. Default: none, and CPU is measured since its start. */
  previous?: ProcessSample | undefined;
}

/** Where the CPU time of a tree stood at some time. */
interface CpuReading {
  /** Milliseconds, on a clock that never jumps. */
  readonly at: number;
  readonly usage: readonly ProcessUsage[];
}

interface SampleHistory {
  readonly cpu: CpuHistory;
  readonly tree: ProcessTree;
}

interface CpuHistory {
  /** What this sample was measured from; `undefined` is the start of the process. */
  readonly base: CpuReading | undefined;
  /** What a later sample is measured from, once it is old enough. */
  readonly latest: CpuReading;
}

/**
 * The shortest time over which CPU is measured. Linux counts it in steps of 10 ms, so that over 250 ms a figure is
 * right to 4 % of a core for each process. Where the previous sample is younger, the one before it is measured from.
 */
const SHORTEST_CPU_INTERVAL_MS = 250;

const aSample: OptionCheck = {
  takes: "a sample, as sampleProcess() gives it",
  accepts: (value) => typeof value === "object" && value !== null && "history" in value,
};

/** There is no process of this id, or the process that now has it is not the one that is meant. */
export class ProcessGoneError extends Error {
  /** Always `"ProcessGoneError"`. */
  override readonly name = "ProcessGoneError";
  /** The id of the process that was asked for. */
  readonly pid: number;

  /** The message says what became of the process. */
  constructor(pid: number, message: string) {
    super(message);
    this.pid = pid;
  }
}

/**
 * Samples a process and all its descendants: memory, and CPU since `previous`.
 *
 * ```ts
 * let sample = await sampleProcess(4711);
 * setInterval(async () => {
 *   sample = await sampleProcess(4711, { previous: sample });
 *   console.log(sample.rss, sample.cpuPercent);
 * }, 1000);
 * ```
 *
 * @throws {ProcessGoneError} where there is no such process, or it ended before it was sampled.
 * @throws {TypeError} where `pid` or an option is not what it should be.
 * @throws {Error} where the process table can't be read, or hides the process.
 */
export async function sampleProcess(pid: number, options: SampleOptions = {}): Promise<ProcessSample> {
  checkValue("sampleProcess", pid, processId);
  checkOptions("sampleProcess", options, { startTime: processStart, previous: aSample });
  return sampleWith(systemReader, pid, options);
}

/** {@link sampleProcess} with one reader or the other. */
export async function sampleWith(
  reader: ProcessReader,
  pid: number,
  { startTime, previous }: SampleOptions = {},
): Promise<ProcessSample> {
  const earlier = previous?.pid === pid ? previous.history.tree : undefined;
  const { tree, usage } = await readTree(reader, pid, startTime, earlier);
  const at = performance.now();
  const rootUsage = usage.find((reading) => reading.pid === pid);
  if (!rootUsage || rootUsage.isZombie)
    throw new ProcessGoneError(pid, `process ${pid} ended while it was sampled`);

  const isContinued =
    previous !== undefined &&
    previous.pid === pid &&
    reader.sameStart(previous.startTime, rootUsage.startTime);
  const latest: CpuReading = { at, usage };
  const cpu = isContinued ? continueHistory(previous.history.cpu, latest) : { base: undefined, latest };

  const rss = sum(usage, (reading) => reading.rss);
  return {
    pid,
    startTime: rootUsage.startTime,
    startedAt: Date.now() - rootUsage.ageMs,
    cpuMs: sum(usage, (reading) => reading.cpuMs + reading.reapedCpuMs),
    processes: usage.filter(({ isZombie }) => !isZombie).length,
    rss,
    vms: usage.some((reading) => reading.vms === null) ? null : sum(usage, (reading) => reading.vms ?? 0),
    breakdown: sumBreakdowns(usage),
    memoryPercent: (100 * rss) / totalmem(),
    cpuPercent: cpuPercent(reader, cpu.base, latest, rootUsage.ageMs),
    history: { cpu, tree },
  };
}

async function readTree(
  reader: ProcessReader,
  pid: number,
  startTime: number | undefined,
  earlier?: ProcessTree,
): Promise<{ tree: ProcessTree; usage: ProcessUsage[] }> {
  const tree = await reader.tree(pid, earlier);
  const root = tree.processes[0];
  if (!root) throw new ProcessGoneError(pid, `process ${pid} does not exist`);
  if (startTime !== undefined && !reader.sameStart(root.startTime, startTime)) {
    throw new ProcessGoneError(pid, `process ${pid} has ended; its id now belongs to another process`);
  }
  const usage = await reader.usage(tree.processes);
  const isWhole = usage.length === tree.processes.length && !usage.some(({ isZombie }) => isZombie);
  if (tree === earlier && !isWhole) return readTree(reader, pid, startTime);
  return { tree, usage };
}

function continueHistory(before: CpuHistory, now: CpuReading): CpuHistory {
  const isOldEnough = now.at - before.latest.at >= SHORTEST_CPU_INTERVAL_MS;
  return isOldEnough ? { base: before.latest, latest: now } : before;
}

function cpuPercent(
  reader: ProcessReader,
  base: CpuReading | undefined,
  now: CpuReading,
  ageMs: number,
): number | null {
  const elapsedMs = base ? now.at - base.at : ageMs;
  if (!(elapsedMs > 0)) return null;
  return (100 * cpuMsBetween(reader, base?.usage ?? [], now.usage)) / elapsedMs;
}

/**
 * The CPU time that a tree used between two readings. When a child has ended and its parent waits for it, its whole
 * time moves to the parent's `reapedCpuMs`; what of that was counted at the first reading is taken off again.
 */
function cpuMsBetween(
  reader: ProcessReader,
  before: readonly ProcessUsage[],
  now: readonly ProcessUsage[],
): number {
  const ended = new Map(before.map((reading) => [reading.pid, reading]));
  let usedMs = 0;
  let reapedMs = 0;
  for (const reading of now) {
    const earlier = ended.get(reading.pid);
    const isKnown = earlier !== undefined && reader.sameStart(earlier.startTime, reading.startTime);
    usedMs += reading.cpuMs - (isKnown ? earlier.cpuMs : 0);
    reapedMs += reading.reapedCpuMs - (isKnown ? earlier.reapedCpuMs : 0);
    if (isKnown) ended.delete(reading.pid);
  }
  const endedMs = sum([...ended.values()], (reading) => reading.cpuMs + reading.reapedCpuMs);
  return Math.max(0, usedMs) + Math.max(0, reapedMs - endedMs);
}

function sumBreakdowns(usage: readonly ProcessUsage[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const { breakdown } of usage) {
    for (const [part, bytes] of Object.entries(breakdown)) total[part] = (total[part] ?? 0) + bytes;
  }
  return total;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

export interface WantedSample extends SampleOptions {
  readonly pid: number;
}
export function sampleProcesses(wanted: readonly WantedSample[]): Promise<(ProcessSample | Error)[]> {
  return Promise.all(
    wanted.map(({ pid, ...options }) => sampleProcess(pid, options).catch((error) => error)),
  );
}
