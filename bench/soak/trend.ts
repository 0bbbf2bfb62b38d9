import { median } from "../median.js";

/**
 * What grows in a soak, and what only goes up and down.
 *
 * The first quarter of the run is left out, a minute at least: code is compiled then, and caches and pools are filled. The
 * rest is parted into at most 15 stretches of the same length, and of each the lowest reading counts: it is what is there
 * when least goes on, and that is what a leak raises, while a peak is no leak. It is a trend where both are so:
 *
 * - Mann–Kendall: so many of the later values are higher than earlier ones as by chance one series in two thousand has
 *   them. That takes eight stretches at least; a shorter run has no verdict.
 * - The growth over the rest of the run, by the slope of Theil and Sen (the median of the slopes between any two values, so
 *   that a few odd ones do not matter), is more than the figure may grow by.
 */
export interface Reading {
  /** Since the start of the run. */
  readonly atMs: number;
  readonly value: number;
}

export interface Trend {
  readonly perHour: number;
  /** From the first to the last of the stretches. */
  readonly growth: number;
  /** By how many standard deviations there are more rises than falls. */
  readonly z: number;
}

const WARM_UP = 1 / 4;
const WARM_UP_MS = 60_000;
const STRETCHES = 15;
const SURE_Z = 3.29;
const HOUR_MS = 3_600_000;

/** For readings at a steady pace. */
export function trendOf(readings: readonly Reading[]): Trend {
  const warmAt = Math.max(WARM_UP_MS, WARM_UP * (readings.at(-1)?.atMs ?? 0));
  const lows = lowest(readings.filter(({ atMs }) => atMs >= warmAt));
  const pairs = lows.flatMap((later, index) =>
    lows.slice(0, index).map((earlier) => [earlier, later] as const),
  );
  const slopes = pairs.map(([earlier, later]) => (later.value - earlier.value) / (later.atMs - earlier.atMs));
  const slope = slopes.length > 0 ? median(slopes) : 0;
  const lengthMs = (lows.at(-1)?.atMs ?? 0) - (lows[0]?.atMs ?? 0);
  const rises = pairs.reduce((sum, [earlier, later]) => sum + Math.sign(later.value - earlier.value), 0);
  return { perHour: slope * HOUR_MS, growth: slope * lengthMs, z: deviations(rises, lows) };
}

export function isGrowing({ growth, z }: Trend, mayGrowBy: number): boolean {
  return z > SURE_Z && growth > mayGrowBy;
}

/** The lowest reading of each stretch, as if it had been in the middle of it. */
function lowest(readings: readonly Reading[]): Reading[] {
  const length = Math.ceil(readings.length / STRETCHES);
  return Array.from({ length: Math.floor(readings.length / length) || 0 }, (_, index) => {
    const stretch = readings.slice(index * length, (index + 1) * length);
    return {
      atMs: median(stretch.map(({ atMs }) => atMs)),
      value: Math.min(...stretch.map(({ value }) => value)),
    };
  });
}

/** Mann and Kendall's, with the correction for values that are the same. */
function deviations(rises: number, lows: readonly Reading[]): number {
  const spread = (count: number) => count * (count - 1) * (2 * count + 5);
  const values = lows.map(({ value }) => value);
  const alike = [...new Set(values)].map((value) => values.filter((other) => other === value).length);
  const variance = alike.reduce((left, count) => left - spread(count), spread(values.length)) / 18;
  return variance > 0 ? (rises - Math.sign(rises)) / Math.sqrt(variance) : 0;
}
