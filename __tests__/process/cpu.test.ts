import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { portable } from "../../lib/process/portable.js";
import { procfs } from "../../lib/process/procfs.js";
import type { ProcessReader, ProcessUsage } from "../../lib/process/reader.js";
import { type ProcessSample, sampleWith } from "../../lib/process/stats.js";
import {
  end,
  hasPs,
  isLinux,
  kernelCpuMs,
  kernelParent,
  kernelTreeCpuMs,
  script,
  start,
  startScript,
} from "../support/processes.js";

/** Enough that it shows where it is counted twice, or not at all. */
const MUCH_MS = 200;

/** CPU is what a busy machine gives out late. */
const USED = { timeout: 30_000 };

/** One that burns, as the child of a shell command that goes on after it. */
async function startBurning(command: string) {
  const { pid, words } = await start("sh", ["-c", command, process.execPath, script("burn.mjs")]);
  const burning = Number(words[0]);
  await expect.poll(() => kernelCpuMs(burning), USED).toBeGreaterThan(MUCH_MS);
  return { pid, burning };
}

/** Samples, and holds the CPU time against what the kernel says of these processes just before and just after it. */
async function sampleAsKernel(pid: number, previous?: ProcessSample, pids = [pid]): Promise<ProcessSample> {
  const kernelMs = () => pids.reduce((sum, each) => sum + kernelTreeCpuMs(each), 0);
  const lowest = kernelMs();
  const sample = await sampleWith(procfs, pid, { previous });
  expect(sample.cpuMs).toBeGreaterThanOrEqual(lowest);
  expect(sample.cpuMs).toBeLessThanOrEqual(kernelMs());
  return sample;
}

/** A reader that at its first reading of usage does something to it. */
function once(change: (usage: ProcessUsage[]) => Promise<ProcessUsage[]>): ProcessReader {
  let isFirst = true;
  return {
    ...procfs,
    usage: async (processes) => {
      const usage = await procfs.usage(processes);
      const isChanged = isFirst;
      isFirst = false;
      return isChanged ? change(usage) : usage;
    },
  };
}

describe.skipIf(!isLinux)("the CPU time of a tree", { timeout: 60_000 }, () => {
  it("is what the kernel has, and never falls, while children come and go", async () => {
    const { pid, process: child } = await startScript("burst.mjs", [`${MUCH_MS}`]);
    let sample = await sampleWith(procfs, pid);
    for (let burst = 0; burst < 2; burst++) {
      let isDone = false;
      child.stdout?.once("data", () => {
        isDone = true;
      });
      child.kill("SIGUSR2");
      for (; !isDone; await delay(5)) {
        const { cpuMs } = sample;
        sample = await sampleWith(procfs, pid, { previous: sample });
        expect(sample.cpuMs).toBeGreaterThanOrEqual(cpuMs);
      }
      sample = await sampleAsKernel(pid, sample);
    }
    expect(sample.cpuMs).toBeGreaterThan(2 * MUCH_MS);
  });

  it("has that of children which are there at the first sample, and which have ended before", async () => {
    const { pid, process: child } = await startScript("burst.mjs", [`${MUCH_MS}`]);
    child.kill("SIGUSR2");
    await expect.poll(() => kernelTreeCpuMs(pid) - kernelCpuMs(pid), USED).toBeGreaterThan(MUCH_MS);
    await sampleAsKernel(pid);

    const family = await startScript("burn.mjs", ["2"]);
    await expect.poll(() => kernelCpuMs(Number(family.words[1])), USED).toBeGreaterThan(MUCH_MS);
    expect((await sampleWith(procfs, family.pid)).cpuMs).toBeGreaterThan(MUCH_MS);
  });

  it("keeps that of a descendant which is handed to another parent, and ends there", async () => {
    const { pid, burning } = await startBurning('("$0" "$1" & wait) & exec sleep 60');
    let sample = await sampleWith(procfs, pid);
    const { cpuMs } = sample;
    expect(sample.processes).toBe(3);
    await end(kernelParent(burning));
    await end(burning);
    expect(kernelTreeCpuMs(pid)).toBeLessThan(cpuMs - MUCH_MS / 2);
    for (let again = 0; again < 3; again++) {
      sample = await sampleWith(procfs, pid, { previous: sample });
      expect(sample.processes).toBe(1);
      expect(sample.cpuMs).toBeGreaterThanOrEqual(cpuMs);
      expect(sample.cpuMs).toBeLessThan(cpuMs + MUCH_MS / 2);
    }
  });

  it("does not have twice that of a child which ends between the reading of its parent and its own", async () => {
    const { pid, burning } = await startBurning('"$0" "$1" & wait; exec sleep 60');
    const previous = await sampleWith(procfs, pid);
    const torn = once(async (usage) => {
      await end(burning);
      await expect.poll(() => existsSync(`/proc/${burning}`)).toBe(false);
      return usage.filter((reading) => reading.pid !== burning);
    });
    const sample = await sampleWith(torn, pid, { previous });
    expect(sample.cpuMs).toBeGreaterThanOrEqual(previous.cpuMs);
    await sampleAsKernel(pid, sample);
  });

  it("does not have twice that of a child which was missed once", async () => {
    const { pid, words } = await startScript("burn.mjs", ["2"]);
    const [, child = 0] = words.map(Number);
    await expect.poll(() => kernelCpuMs(child), USED).toBeGreaterThan(MUCH_MS);
    const previous = await sampleWith(procfs, pid);
    const missing = once(async (usage) => usage.filter((reading) => reading.pid !== child));
    const sample = await sampleWith(missing, pid, { previous });
    expect(sample.cpuMs).toBeGreaterThanOrEqual(previous.cpuMs);
    await sampleAsKernel(pid, sample, [pid, child]);
  });

  it("is that of all samples, also where each is too young to measure a percentage from", async () => {
    const { pid } = await startScript("burn.mjs");
    let sample = await sampleWith(procfs, pid);
    for (const since = performance.now(); performance.now() - since < 600; await delay(10)) {
      sample = await sampleAsKernel(pid, sample);
    }
  });

  it("begins anew with another process", async () => {
    const { pid } = await startBurning('"$0" "$1" & exec sleep 60');
    const idle = await startScript("stubborn.mjs");
    const previous = await sampleWith(procfs, pid);
    const { startTime, startedAt } = await sampleAsKernel(idle.pid, previous);
    expect(startedAt).toBeGreaterThan(previous.startedAt);
    // One that had the same id before.
    const other = { ...previous, pid: idle.pid, startTime: startTime - 1 };
    const again = await sampleAsKernel(idle.pid, other);
    expect(again.startedAt).toBeGreaterThan(previous.startedAt);
  });
});

describe.skipIf(!isLinux)("when a process was started", () => {
  /** By the kernel, which tells in whole seconds when it was booted. */
  function kernelStartedAt(pid: number): number {
    const bootedAt = Number(/^btime (\d+)$/m.exec(readFileSync("/proc/stat", "utf8"))?.[1]) * 1000;
    const ticks = Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[19]);
    return bootedAt + ticks * 10;
  }

  const readers: [string, ProcessReader, isMissing: boolean, exactMs: number][] = [
    ["/proc", procfs, false, 1100],
    ["ps-list and pidusage", portable, !hasPs, 3000],
  ];
  for (const [name, reader, isMissing, exactMs] of readers) {
    it.skipIf(isMissing)(`is told by ${name}, and stays the same`, async () => {
      const { pid } = await startScript("stubborn.mjs");
      let sample = await sampleWith(reader, pid);
      const { startedAt } = sample;
      expect(Math.abs(startedAt - kernelStartedAt(pid))).toBeLessThan(exactMs);
      for (let again = 0; again < 5; again++) {
        // The age that ps tells is one of whole seconds, and so another each time.
        await delay(reader === portable ? 300 : 20);
        sample = await sampleWith(reader, pid, { previous: sample });
        expect(sample.startedAt).toBe(startedAt);
      }
    });
  }
});
