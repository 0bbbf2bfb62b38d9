/** One process, as the process table has it. */
export interface ProcessEntry {
  readonly pid: number;
  readonly ppid: number;
  /**
   * When it was started, which with the pid tells it from any other process. Its unit is the reader's own:
   * clock ticks since boot in `/proc`, milliseconds since 1970 elsewhere.
   */
  readonly startTime: number;
  /** The name of what it runs, for messages. */
  readonly command: string;
}

/** What one process holds now, and has used since it was started. */
export interface ProcessUsage {
  readonly pid: number;
  readonly startTime: number;
  /** Its age when this was read, in milliseconds. */
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

/** One way of asking the operating system about processes. A zombie is not listed: it holds nothing. */
export interface ProcessReader {
  /** The process of this id, or `undefined` where there is none. */
  find(pid: number): Promise<ProcessEntry | undefined>;
  /** The process of this id and its descendants, parents first; empty where there is none. */
  tree(pid: number): Promise<ProcessEntry[]>;
  /** Every process that can be seen. */
  table(): Promise<ProcessEntry[]>;
  /** The usage of those of these processes that are still there. */
  usage(processes: readonly ProcessEntry[]): Promise<ProcessUsage[]>;
  /** Every process that was started with an argument that `accepts` takes. */
  withArgument(accepts: (argument: string) => boolean): Promise<ProcessEntry[]>;
  /** Whether two readings of a start time are of one start. */
  sameStart(a: number, b: number): boolean;
}
