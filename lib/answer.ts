import type { ProcessSample } from "./process/stats.js";

/**
 * What the monitor tells of one model; the members after `memory` are there where the backend reports no memory. Whoever asked
 * at the same time has the same object.
 */
export interface MonitorAnswer {
  /** `0` uninitialized, `1` busy, `2` ready, `-1` error or unknown; a backend may report others. */
  readonly state: number;
  /** What it holds, by the backend's own word or the operating system's. */
  readonly memory: {
    /** Bytes; `null` where neither the backend nor the operating system tells. */
    readonly total: bigint | null;
    /** The parts of it, in bytes. */
    readonly breakdown: Readonly<Record<string, bigint>>;
  };
  /** From the operating system, summed over the process tree; `null` where it does not tell. */
  readonly memory_info?: {
    /** Bytes in memory: `memory.total`, as a plain number. */
    readonly rss: number | null;
    /** Bytes of address space. */
    readonly vms: number | null;
  };
  /** `100 × rss ÷ the machine's physical memory`. */
  readonly memory_percent?: number | null;
  /** 100 is one core fully used, summed over the process tree. */
  readonly cpu_percent?: number | null;
  /** Why the backend's `Status` call failed, where it did. */
  readonly status_error?: {
    /** The name of a gRPC status, such as `UNIMPLEMENTED`. */
    readonly code: string;
    /** What the backend, or gRPC, said. */
    readonly message: string;
  };
}

/** The members of an answer that the operating system gives. */
export type SystemUsage = Pick<MonitorAnswer, "memory" | "memory_info" | "memory_percent" | "cpu_percent">;

export const NOTHING_KNOWN: SystemUsage = {
  memory: { total: null, breakdown: {} },
  memory_info: { rss: null, vms: null },
  memory_percent: null,
  cpu_percent: null,
};

export function systemUsage({ rss, vms, breakdown, memoryPercent, cpuPercent }: ProcessSample): SystemUsage {
  const parts = Object.entries(breakdown).map(([part, bytes]) => [part, BigInt(bytes)]);
  return {
    memory: { total: BigInt(rss), breakdown: Object.fromEntries(parts) },
    memory_info: { rss, vms },
    memory_percent: memoryPercent,
    cpu_percent: cpuPercent,
  };
}
