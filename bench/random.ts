/** Numbers from 0 to 1, 1 not among them. */
export type Random = () => number;

/** mulberry32: good enough to shuffle with, and the same for the same seed. */
export function randomNumbers(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function pickFrom<T>(items: readonly T[], random: Random): T {
  return items[Math.floor(random() * items.length)] as T;
}
