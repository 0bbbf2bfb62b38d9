import type { History } from "./api.js";

export const WINDOW_MS = 15 * 60_000;

/** Where as many samples are missing, nobody knows what was between. */
const MISSING_SAMPLES = 3;

/** The server remembers no more than one a second. */
const FINEST_MS = 1_000;

/** The samples of the last 15 minutes, as the columns that a chart is drawn of. `null` is a gap. */
export class Series {
  readonly at: number[] = [];
  readonly memory: (number | null)[] = [];
  readonly cpu: (number | null)[] = [];
  readonly #intervalMs: number;

  constructor(intervalMs: number) {
    this.#intervalMs = Math.max(FINEST_MS, intervalMs);
  }

  /** A history that starts before what is here already, and may go on as long. */
  static joined(history: History, live: Series): Series {
    const series = new Series(live.#intervalMs);
    for (const { at, memory, cpu } of [history, live]) {
      for (const [index, time] of at.entries()) series.push(time, memory[index] ?? null, cpu[index] ?? null);
    }
    return series;
  }

  push(at: number, memory: number | null, cpu: number | null): void {
    // The clock may have been set back: what it says is ahead has no place any more.
    while (Number(this.at.at(-1)) > at) for (const column of [this.at, this.memory, this.cpu]) column.pop();
    const last = this.at.at(-1);
    if (last === at) return;
    if (last !== undefined && at - last > MISSING_SAMPLES * this.#intervalMs) this.#add(last + 1, null, null);
    this.#add(at, memory, cpu);
    const tooOld = this.at.findIndex((time) => time >= at - WINDOW_MS);
    for (const column of [this.at, this.memory, this.cpu]) column.splice(0, tooOld);
  }

  #add(at: number, memory: number | null, cpu: number | null): void {
    this.at.push(at);
    this.memory.push(memory);
    this.cpu.push(cpu);
  }
}

/** What a column of it comes to; `undefined` where nothing is known. */
export function rangeOf(column: readonly (number | null)[]) {
  const known = column.filter((value) => value !== null);
  if (known.length === 0) return undefined;
  return { now: column.at(-1) ?? null, least: Math.min(...known), most: Math.max(...known) };
}
