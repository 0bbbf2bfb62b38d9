import type { BackendCallError } from "./backend/client.js";
import type { BackendReport } from "./backend/reports.js";
import { BackendError } from "./errors.js";
import { detail, quote } from "./message.js";
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

type SystemUsage = Pick<MonitorAnswer, "memory" | "memory_info" | "memory_percent" | "cpu_percent">;

const NOTHING_KNOWN: SystemUsage = {
  memory: { total: null, breakdown: {} },
  memory_info: { rss: null, vms: null },
  memory_percent: null,
  cpu_percent: null,
};

/**
 * What a backend's report and a sample of its process come to together; no sample is needed where the report has memory.
 *
 * @throws {BackendError} where neither tells.
 */
export function answerOf(
  name: string,
  { state, memory, failure }: BackendReport,
  sample?: ProcessSample | Error,
): MonitorAnswer {
  if (memory) return { state, memory };
  const usage = sample && !(sample instanceof Error) ? systemUsage(sample) : undefined;
  // The call itself succeeded: its state is the answer, whether or not the rest is to be had.
  if (!failure) return { state, ...(usage ?? NOTHING_KNOWN) };
  if (!usage) throw bothFailed(name, failure, sample);
  return { state, ...usage, status_error: { code: failure.code, message: detail(failure.message) } };
}

function systemUsage({ rss, vms, breakdown, memoryPercent, cpuPercent }: ProcessSample): SystemUsage {
  const parts = Object.entries(breakdown).map(([part, bytes]) => [part, BigInt(bytes)]);
  return {
    memory: { total: BigInt(rss), breakdown: Object.fromEntries(parts) },
    memory_info: { rss, vms },
    memory_percent: memoryPercent,
    cpu_percent: cpuPercent,
  };
}

function bothFailed(name: string, failure: BackendCallError, cause: unknown): BackendError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new BackendError(
    `model ${quote(name)}: its backend's Status call failed (${failure.code}: ${detail(failure.message)}), and its ` +
      `process can't be sampled (${detail(reason)})`,
    { cause: new AggregateError([failure, cause]) },
  );
}
