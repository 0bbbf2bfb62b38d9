import { totalmem } from "node:os";
import { checkOptions, checkValue, type OptionCheck, processId, processStart } from "../options.js";
import { type CpuHistory, continueHistory, cpuPercent } from "./cpu.js";
import type { ProcessEntry, ProcessReader, ProcessTree, ProcessUsage, WantedTree } from "./reader.js";
import { systemReader } from "./system.js";

/** What a process and all its descendants cost. */
export interface ProcessSample {
  /** The id of the process itself. */
  readonly pid: number;
  /** As {@link processStartTime} gives it. */
  readonly startTime: number;
  /**
   * When the process was started, in milliseconds since 1970 by this machine's clock. It is taken over from the previous
   * sample, so that it stays the same.
   */
  readonly startedAt: number;
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
  /**
   * CPU time that the tree has used since the process was started, in milliseconds, as far as it was seen: by the samples
   * before, and on Linux also by parents, which know that of children they have waited for. It never falls from one
   * sample to the next.
   */
  readonly cpuMs: number;
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

/** What {@link sampleProcesses} is to sample. */
export interface WantedSample extends SampleOptions {
  /** The id of the process. */
  readonly pid: number;
}

interface SampleHistory {
  readonly cpu: CpuHistory;
  readonly tree: ProcessTree;
}

/** A tree that is to be read, and for what sample. */
interface WantedReading extends WantedTree {
  readonly sample: WantedSample;
}

/** A tree that is the one which is meant. */
interface MeantTree {
  readonly wanted: WantedReading;
  readonly tree: ProcessTree;
}

/** With what its processes use. */
interface TreeReading extends MeantTree {
  readonly usage: readonly ProcessUsage[];
}

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

/**
 * As {@link sampleProcess}, of many, in their order: one pass over the process table for all of them. Each that can't be
 * sampled has its error in its place; it never rejects because of one of them.
 */
export function sampleProcesses(wanted: readonly WantedSample[]): Promise<(ProcessSample | Error)[]> {
  return sampleAllWith(systemReader, wanted);
}

/** {@link sampleProcess} with one reader or the other. */
export async function sampleWith(
  reader: ProcessReader,
  pid: number,
  { startTime, previous }: SampleOptions = {},
): Promise<ProcessSample> {
  const [sample] = await sampleAllWith(reader, [{ pid, startTime, previous }]);
  if (!sample || sample instanceof Error) throw sample;
  return sample;
}

/** {@link sampleProcesses} with one reader or the other. */
export async function sampleAllWith(
  reader: ProcessReader,
  samples: readonly WantedSample[],
): Promise<(ProcessSample | Error)[]> {
  if (samples.length === 0) return [];
  const wanted = samples.map((sample): WantedReading => {
    const { pid, previous } = sample;
    return { pid, earlier: previous?.pid === pid ? previous.history.tree : undefined, sample };
  });
  const readings = await readTrees(reader, wanted);
  const memory = totalmem();
  return readings.map((reading) => (reading instanceof Error ? reading : toSample(reader, reading, memory)));
}

function toSample(
  reader: ProcessReader,
  { wanted, tree, usage }: TreeReading,
  memory: number,
): ProcessSample | ProcessGoneError {
  const { pid, previous } = wanted.sample;
  const root = usage.find((reading) => reading.pid === pid);
  if (!root || root.isZombie) return new ProcessGoneError(pid, `process ${pid} ended while it was sampled`);

  const isContinued = previous?.pid === pid && reader.sameStart(previous.startTime, root.startTime);
  const before = isContinued ? previous : undefined;
  const cpu = continueHistory(reader.sameStart, before?.history.cpu, root.readAt, usage);
  const rss = sum(usage, (reading) => reading.rss);
  return {
    pid,
    startTime: root.startTime,
    startedAt: before?.startedAt ?? Math.round(Date.now() - (performance.now() - root.readAt) - root.ageMs),
    processes: usage.filter(({ isZombie }) => !isZombie).length,
    rss,
    vms: usage.some((reading) => reading.vms === null) ? null : sum(usage, (reading) => reading.vms ?? 0),
    breakdown: sumBreakdowns(usage),
    memoryPercent: (100 * rss) / memory,
    cpuPercent: cpuPercent(cpu, root.ageMs),
    cpuMs: cpu.newest.usedMs,
    history: { cpu, tree },
  };
}

/** In their order. Those earlier trees of which something is gone are read anew, together. */
async function readTrees(
  reader: ProcessReader,
  wanted: readonly WantedReading[],
): Promise<(TreeReading | Error)[]> {
  const readings = await readTreesOnce(reader, wanted);
  const outdated = readings.filter(isOutdated);
  if (outdated.length === 0) return readings;
  const anew = await readTreesOnce(
    reader,
    outdated.map(({ wanted: { pid, sample } }) => ({ pid, sample })),
  );
  return readings.map((reading) => (isOutdated(reading) ? (anew.shift() ?? reading) : reading));
}

function isOutdated(reading: TreeReading | Error): reading is TreeReading {
  if (reading instanceof Error || reading.tree !== reading.wanted.earlier) return false;
  const { tree, usage } = reading;
  return usage.length < tree.processes.length || usage.some(({ isZombie }) => isZombie);
}

async function readTreesOnce(
  reader: ProcessReader,
  wanted: readonly WantedReading[],
): Promise<(TreeReading | Error)[]> {
  try {
    const trees: (MeantTree | Error)[] = [];
    for (const [each, tree] of await reader.trees(wanted)) trees.push(asMeant(reader, each, tree));
    const usageOf = await readUsage(
      reader,
      trees.flatMap((each) => (each instanceof Error ? [] : each.tree)),
    );
    return trees.map((each) => {
      if (each instanceof Error) return each;
      const { wanted, tree } = each;
      return { wanted, tree, usage: usageOf(tree) };
    });
  } catch (error) {
    return wanted.map(() => error as Error);
  }
}

function asMeant(
  { sameStart }: ProcessReader,
  wanted: WantedReading,
  tree: ProcessTree | Error,
): MeantTree | Error {
  if (tree instanceof Error) return tree;
  const { pid, startTime } = wanted.sample;
  const [root] = tree.processes;
  if (!root) return new ProcessGoneError(pid, `process ${pid} does not exist`);
  if (startTime === undefined || sameStart(root.startTime, startTime)) return { wanted, tree };
  return new ProcessGoneError(pid, `process ${pid} has ended; its id now belongs to another process`);
}

/** Reads a process once, though it be in several trees. */
async function readUsage(
  reader: ProcessReader,
  trees: readonly ProcessTree[],
): Promise<(tree: ProcessTree) => ProcessUsage[]> {
  const processes = new Map<number, ProcessEntry>();
  // A tree within another is the smaller one. So parents come first also here: what a child used until it ended, and its
  // parent has from then on, is not read twice.
  for (const tree of trees.toSorted((a, b) => b.processes.length - a.processes.length)) {
    for (const process of tree.processes) {
      const known = processes.get(process.pid);
      // Of two that were given the same id, the older one is gone.
      if (!known || known.startTime < process.startTime) processes.set(process.pid, process);
    }
  }
  const usage = new Map<number, ProcessUsage>();
  for (const reading of await reader.usage([...processes.values()])) usage.set(reading.pid, reading);
  return ({ processes }) =>
    processes.flatMap(({ pid, startTime }) => {
      const reading = usage.get(pid);
      return reading?.startTime === startTime ? reading : [];
    });
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
