/** One process, as the process table has it. */
export interface ProcessEntry {
  readonly pid: number;
  readonly ppid: number;
  /**
   * When it was started, which with the pid tells it from any other process. Its unit is the reader's own:
   * clock ticks since boot in `/proc`, milliseconds since 1970 elsewhere.
   */
  readonly startTime: number;
  /** The name of what it runs, as the system has it at hand. */
  readonly command: string;
  /**
   * The ids that it bears, see `environmentWithId`; none where the system does not tell. Absent where they were not asked for,
   * or could not be read in time.
   */
  readonly ids?: readonly string[] | undefined;
}

/**
 * What one process holds now, and has used since it was started. A zombie holds nothing; what it has used moves to
 * its parent once that has waited for it.
 */
export interface ProcessUsage {
  readonly pid: number;
  readonly startTime: number;
  readonly isZombie: boolean;
  /** When this was read: milliseconds, on a clock that never jumps. */
  readonly readAt: number;
  /** Its age then, in milliseconds. */
  readonly ageMs: number;
  /** CPU time that it has used itself, in milliseconds. */
  readonly cpuMs: number;
  /** CPU time of its children that have ended and that it has waited for, in milliseconds. */
  readonly reapedCpuMs: number;
  /** Bytes in memory. */
  readonly rss: number;
  /** Bytes of address space; `null` where the system does not tell. */
  readonly vms: number | null;
  /** The parts of `rss`, in bytes; they add up to it. */
  readonly breakdown: Readonly<Record<string, number>>;
}

/** A process and its descendants, zombies among them, parents first; none where there is no such process. */
export interface ProcessTree {
  readonly processes: readonly ProcessEntry[];
  /** Absent where the system does not tell. */
  readonly lastPid?: LastPid | undefined;
}

/** What a tree is read for. */
export interface WantedTree {
  /** The id of its first process. */
  readonly pid: number;
  /** The same tree, as it was read before. Where everything of it is still there, it may be the outcome again. */
  readonly earlier?: ProcessTree | undefined;
}

/** The id that the system gave last before a tree was read. While it is the same, nothing has been started since. */
export interface LastPid {
  readonly pid: string;
  /** When it was first seen to be the last, on a clock that never jumps. */
  readonly since: number;
  /** It had been the last for so long that its process was sure to be where it belongs when the tree was read. */
  readonly isSettled: boolean;
}

/** Whether two readings of a start time are of one start. */
export type SameStart = (a: number, b: number) => boolean;

/** One way of asking the operating system about processes. A zombie is no process any more, unless said otherwise. */
export interface ProcessReader {
  /** The process of this id, or `undefined` where there is none. Throws where there is one that is hidden. */
  find(pid: number): Promise<ProcessEntry | undefined>;
  /** All that are wanted, in their order, in one pass. An error is in the place of a tree whose first process is hidden. */
  trees<Wanted extends WantedTree>(wanted: readonly Wanted[]): Promise<Map<Wanted, ProcessTree | Error>>;
  /**
   * Every process that can be seen, read after the call; `withIds`, with the ids that they bear.
   */
  table(withIds?: boolean): Promise<ProcessEntry[]>;
  /** The same, without a turn of the event loop in between; empty where the system can't be asked so. */
  tableNow(withIds?: boolean): ProcessEntry[];
  /** The usage of those of these processes that are still there. */
  usage(processes: readonly ProcessEntry[]): Promise<ProcessUsage[]>;
  /** Looks again, on the spot, whether this process is still there; `true` where the system can't be asked so fast. */
  isStillThere(process: ProcessEntry): boolean;
  /** The same processes, by the names that a person knows them by, where those can be had: for messages. */
  named(processes: readonly ProcessEntry[]): Promise<ProcessEntry[]>;
  /** Every process that was started with arguments that `accepts` takes. */
  withArguments(accepts: (args: readonly string[]) => boolean): Promise<ProcessEntry[]>;
  readonly sameStart: SameStart;
}
