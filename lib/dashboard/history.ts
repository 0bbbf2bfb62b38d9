import type { ModelOverview } from "../overview.js";
import type { History as Columns } from "./wire.js";

const KEPT_MS = 15 * 60_000;
const MAX_MODELS = 1_000;

/** Numbers alone, which take eight bytes each: what is not known is NaN, and in JSON that is `null`. */
interface Points {
  readonly at: number[];
  readonly memory: number[];
  readonly cpu: number[];
}

interface Series extends Points {
  /** The number of the overview that the model was last in. */
  seenIn: number;
}

/** What each model has cost in the last 15 minutes: a point a second at most, whoever asked for it. */
export class History {
  /** In the order in which they were last seen. */
  readonly #series = new Map<string, Series>();
  #overviews = 0;

  /** Of an overview that was taken at `at`, in milliseconds since 1970. */
  record(at: number, models: readonly ModelOverview[]): void {
    this.#overviews++;
    const newcomers: ModelOverview[] = [];
    for (const model of models) {
      const series = this.#series.get(model.name);
      if (!series) {
        newcomers.push(model);
        continue;
      }
      this.#series.delete(model.name);
      this.#see(series, at, model);
    }
    for (const [name, { at: times }] of this.#series) {
      if (isOver(times.at(-1), at)) this.#series.delete(name);
    }
    for (const model of newcomers) {
      if (!this.#hasRoom()) return;
      this.#see({ at: [], memory: [], cpu: [], seenIn: 0 }, at, model);
    }
  }

  /** Empty where nothing is known of the model. */
  read(name: string): Columns {
    const { at, memory, cpu } = this.#series.get(name) ?? { at: [], memory: [], cpu: [] };
    const now = Date.now();
    const first = at.findIndex((time) => !isOver(time, now));
    const [from, to] = first < 0 ? [0, 0] : [first, at.length];
    return { at: at.slice(from, to), memory: memory.slice(from, to), cpu: cpu.slice(from, to) };
  }

  #see(series: Series, at: number, model: ModelOverview): void {
    series.seenIn = this.#overviews;
    this.#series.set(model.name, series);
    add(series, at, model);
  }

  /** The one that was not seen for longest makes room, but none that is listed: they would drive each other out. */
  #hasRoom(): boolean {
    if (this.#series.size < MAX_MODELS) return true;
    const [oldest] = this.#series;
    if (!oldest || oldest[1].seenIn === this.#overviews) return false;
    return this.#series.delete(oldest[0]);
  }
}

function add({ at: times, memory, cpu }: Points, at: number, { status, process }: ModelOverview): void {
  // The clock may have been set back: what it says is ahead has no place any more.
  while (Number(times.at(-1)) > at) for (const column of [times, memory, cpu]) column.pop();
  if (secondOf(times.at(-1)) === secondOf(at)) return;
  times.push(at);
  memory.push(Number(status?.memory.total ?? process?.rss ?? Number.NaN));
  cpu.push(process?.cpu_percent ?? Number.NaN);
  while (isOver(times[0], at)) for (const column of [times, memory, cpu]) column.shift();
}

function secondOf(at = Number.NaN): number {
  return Math.floor(at / 1000);
}

function isOver(at: number | undefined, now: number): boolean {
  return at === undefined || at <= now - KEPT_MS;
}
