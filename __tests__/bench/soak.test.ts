import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { randomNumbers } from "../../bench/random.js";
import { isGrowing, trendOf } from "../../bench/soak/trend.js";
import { isLinux } from "../support/processes.js";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

/** Twenty minutes of readings, `valueAt` from 0 to 1 of the run. */
function readings(valueAt: (time: number, noise: number) => number, count = 100) {
  const random = randomNumbers(1);
  return Array.from({ length: count }, (_, index) => ({
    atMs: (1_200_000 * index) / (count - 1),
    value: valueAt(index / (count - 1), random()),
  }));
}

describe("the trend of a soak", () => {
  it.each<[what: string, valueAt: (time: number, noise: number) => number]>([
    ["stays the same", () => 70],
    ["goes up and down", (_time, noise) => 70 + 40 * noise],
    ["rises at the start and stays there", (time, noise) => (time < 0.2 ? 40 : 100) + 10 * noise],
    ["rises to where it stays", (time, noise) => 100 - 60 * Math.exp(-20 * time) + 10 * noise],
    ["falls", (time, noise) => 100 - 40 * time + 10 * noise],
    ["peaks at the end", (time) => (time > 0.9 ? 200 : 70)],
    ["has a saw's teeth", (time) => 70 + 30 * ((time * 17) % 1)],
    ["grows, but by less than it may", (time) => 70 + 6 * time],
  ])("lets a figure pass that %s", (_what, valueAt) => {
    expect(isGrowing(trendOf(readings(valueAt)), 5)).toBe(false);
  });

  it.each<[what: string, valueAt: (time: number, noise: number) => number]>([
    ["grows steadily", (time) => 70 + 10 * time],
    ["grows by less than it goes up and down", (time, noise) => 70 + 30 * time + 40 * noise],
    ["grows with a saw's teeth", (time) => 70 + 20 * time + 30 * ((time * 17) % 1)],
    ["grows in steps", (time) => 70 + 4 * Math.floor(time * 5)],
    ["grows faster and faster", (time, noise) => 70 + 20 * time ** 3 + noise],
  ])("finds a figure that %s", (_what, valueAt) => {
    expect(isGrowing(trendOf(readings(valueAt)), 5)).toBe(true);
  });

  it("takes one series without a trend in a thousand for one, at most", () => {
    const random = randomNumbers(7);
    const flat = () => Array.from({ length: 100 }, (_, index) => ({ atMs: 12_000 * index, value: random() }));
    const found = Array.from({ length: 3_000 }, flat).filter((series) => isGrowing(trendOf(series), 0));
    expect(found.length).toBeLessThanOrEqual(3);
  });

  it("tells the slope an hour, and the growth from the first of its stretches to the last", () => {
    const { perHour, growth, z } = trendOf(readings((time) => 70 + 10 * time, 101));
    expect(perHour).toBeCloseTo(30);
    expect(growth).toBeCloseTo(6.6);
    expect(z).toBeGreaterThan(4);
  });

  it.each([0, 1, 2, 9])("has no verdict on %i readings", (count) => {
    expect(isGrowing(trendOf(readings((time) => 1_000 * time, count)), 5)).toBe(false);
  });
});

describe.skipIf(!isLinux)("npm run soak", () => {
  it("finds a few seconds steady, and nothing left", { timeout: 90_000 }, async () => {
    // Where it fails, its report is what is to be read.
    const { stdout } = await run(
      process.execPath,
      ["build/bench/soak.js", "--minutes", "0.05", "--seed", "1"],
      {
        cwd: root,
      },
    ).catch((error) => error);
    expect(stdout).toMatch(/^0\.05 minutes with seed 1: \d+ requests/m);
    expect(stdout).toMatch(/\nsteady\n$/);
  });

  it.each([
    ["--minutes", "0"],
    ["--minutes", "soon"],
    ["--seed", "x"],
  ])("refuses %s %s", async (option, value) => {
    const { code, stderr } = await run(process.execPath, ["build/bench/soak.js", option, value], {
      cwd: root,
    }).catch((error) => error);
    expect(code).toBe(2);
    expect(stderr).toMatch(new RegExp(`--minutes .* --seed .* ${value}`));
  });
});
