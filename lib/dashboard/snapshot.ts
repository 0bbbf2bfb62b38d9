import { availableParallelism, totalmem } from "node:os";
import type { ModelOverview } from "../overview.js";
import type { ModelRegistry } from "../registry/registry.js";
import type { Snapshot } from "./wire.js";

/** What there is at one time. */
export function snapshotOf(
  registry: ModelRegistry,
  intervalMs: number,
  at: number,
  models: readonly ModelOverview[],
): Snapshot {
  return {
    at,
    models,
    machine: { memory: totalmem(), cores: availableParallelism() },
    interval_ms: intervalMs,
    logs: typeof registry.followLogs === "function",
  };
}
