/**
 * The JSON that this page reads. It is what lib/dashboard/wire.ts declares, once it has arrived: the page is compiled by itself
 * and imports nothing of the server's. A test holds the two together.
 */

export interface Problem {
  readonly code: number;
  readonly message: string;
  readonly type: string;
}

export interface Status {
  readonly state: number;
  readonly memory: {
    readonly total: number | null;
    readonly breakdown: Readonly<Record<string, number>>;
  };
  readonly status_error?: { readonly code: string; readonly message: string } | undefined;
}

export interface ProcessCost {
  readonly processes: number;
  readonly rss: number;
  readonly vms: number | null;
  readonly memory_percent: number;
  readonly cpu_percent: number | null;
  readonly cpu_seconds: number;
}

export type ShutdownPhase = "draining" | "freeing" | "terminating";

export interface Model {
  readonly name: string;
  readonly address: string;
  readonly pid: number | null;
  readonly loaded_since: string | null;
  readonly status?: Status | undefined;
  readonly error?: Problem | undefined;
  readonly process: ProcessCost | null;
  readonly shutdown: ShutdownPhase | null;
}

export interface Machine {
  readonly memory: number;
  readonly cores: number;
}

export interface Snapshot {
  readonly at: number;
  readonly models: readonly Model[];
  readonly machine: Machine;
  readonly interval_ms: number;
  readonly logs: boolean;
}

export interface Change {
  readonly at: number;
  readonly changed: readonly Model[];
  readonly gone: readonly string[];
}

export interface ShutdownNews {
  readonly model: string;
  readonly phase: ShutdownPhase | "stopped" | "failed";
  readonly processes?: number | undefined;
  readonly error?: Problem | undefined;
}

export interface Trouble {
  readonly error: Problem;
}

export interface ShutdownOutcomes {
  readonly outcomes: readonly ShutdownOutcome[];
}

export interface ShutdownOutcome {
  readonly model: string;
  readonly message?: string | undefined;
  readonly error?: Problem | undefined;
}

export interface History {
  readonly at: readonly number[];
  readonly memory: readonly (number | null)[];
  readonly cpu: readonly (number | null)[];
}
