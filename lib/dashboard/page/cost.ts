/** What a model costs, in one figure of each kind. `null` is what nobody tells. */
import type { Model } from "./api.js";

/** Bytes: by the backend's own word where it says so, by the operating system's otherwise. */
export function memoryOf({ status, process }: Model): number | null {
  return status?.memory.total ?? process?.rss ?? null;
}

/** 100 is one core fully used. */
export function cpuOf({ process }: Model): number | null {
  return process?.cpu_percent ?? null;
}

/** Milliseconds since its process was started, at a time of the server's clock. */
export function uptimeOf({ loaded_since }: Model, at: number): number | null {
  return loaded_since === null ? null : Math.max(0, at - Date.parse(loaded_since));
}

/** The sum of what is known. */
export function sum(figures: Iterable<number | null>): number {
  let total = 0;
  for (const figure of figures) total += figure ?? 0;
  return total;
}
