import { describe, expect, it } from "vitest";
import { shareNext } from "../../lib/process/share-next.js";

/** Runs that end when they are told to, numbered as they begin. */
function controlled() {
  const runs: { succeed(): void; fail(): void }[] = [];
  const call = shareNext(
    () =>
      new Promise<number>((resolve, reject) => {
        const number = runs.length;
        runs.push({ succeed: () => resolve(number), fail: () => reject(new Error(`run ${number}`)) });
      }),
  );
  return { call, runs };
}

const soon = () => new Promise((resolve) => setImmediate(resolve));

describe("shareNext", () => {
  it("gives all who ask before a run begins that run", async () => {
    const { call, runs } = controlled();
    const all = Promise.all([call(), call(), call()]);
    await soon();
    runs[0]?.succeed();
    expect(await all).toEqual([0, 0, 0]);
    expect(runs).toHaveLength(1);
  });

  it("gives those who ask in the middle of one the next, one at a time", async () => {
    const { call, runs } = controlled();
    const first = call();
    await soon();
    const later = [call(), call()];
    await soon();
    expect(runs).toHaveLength(1);
    runs[0]?.succeed();
    expect(await first).toBe(0);
    await soon();
    const last = call();
    runs[1]?.succeed();
    expect(await Promise.all(later)).toEqual([1, 1]);
    await soon();
    runs[2]?.succeed();
    expect(await last).toBe(2);
  });

  it("tells those who shared a run that it failed, and goes on", async () => {
    const { call, runs } = controlled();
    const failing = [call(), call()];
    await soon();
    const next = call();
    runs[0]?.fail();
    const outcomes = await Promise.allSettled(failing);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    await soon();
    runs[1]?.succeed();
    expect(await next).toBe(1);
  });
});
