import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { ProcessGoneError, processStartTime, sampleProcess } from "../../lib/process/index.js";
import { portable } from "../../lib/process/portable.js";
import { procfs } from "../../lib/process/procfs.js";
import type { ProcessReader } from "../../lib/process/reader.js";
import { sampleWith } from "../../lib/process/stats.js";
import { expectPercent, lookAround, lookAtStart } from "../support/cpu.js";
import {
  end,
  freeze,
  hasEnded,
  hasPs,
  isLinux,
  kernelAgeMs,
  kernelBytes,
  kernelChildren,
  kernelCpuMs,
  kernelTreeCpuMs,
  script,
  start,
  startScript,
} from "../support/processes.js";

const MIB = 1024 * 1024;

function total(pids: readonly number[], figure: (pid: number) => number): number {
  return pids.reduce((sum, pid) => sum + figure(pid), 0);
}

function expectWithin(percent: number, actual: number | null, expected: number) {
  expect(actual).toBeGreaterThan(expected * (1 - percent / 100));
  expect(actual).toBeLessThan(expected * (1 + percent / 100));
}

const readers: [string, ProcessReader, isMissing: boolean][] = [
  ["/proc", procfs, !isLinux],
  ["ps-list and pidusage", portable, !isLinux || !hasPs],
];

for (const [name, reader, isMissing] of readers)
  describe.skipIf(isMissing)(`by ${name}`, () => {
    it("sums memory over the process and all its descendants, as the kernel has it", async () => {
      const { pid, words } = await startScript("family.mjs");
      const pids = words.map(Number);
      expect(pids).toHaveLength(5);
      await Promise.all(pids.map(freeze));
      const sample = await sampleWith(reader, pid);

      expect(sample.processes).toBe(5);
      expect(sample.rss).toBeGreaterThan(5 * 20 * MIB);
      expectWithin(
        5,
        sample.rss,
        total(pids, (each) => kernelBytes(each, "VmRSS")),
      );
      expectWithin(
        1,
        sample.vms,
        total(pids, (each) => kernelBytes(each, "VmSize")),
      );
      expect(sample.memoryPercent).toBe((100 * sample.rss) / totalmem());
      expect(Object.values(sample.breakdown).reduce((sum, part) => sum + part, 0)).toBe(sample.rss);
    });

    it("measures CPU over the time since the previous sample, summed over the tree", async () => {
      const { pid, words } = await startScript("burn.mjs", ["2"]);
      const pids = words.map(Number);
      const [previous, from] = await lookAround(pids, () => sampleWith(reader, pid));
      // ps counts in whole seconds for each process, /proc in hundredths.
      await delay(reader === portable ? 3000 : 800);
      const [sample, to] = await lookAround(pids, () => sampleWith(reader, pid, { previous }));
      expectPercent(sample.cpuPercent, from, to, reader === portable ? 2000 : 20);
      expect(to[0].cpuMs - from[1].cpuMs).toBeGreaterThan(0);
    });

    it("measures CPU since the process started where there is no previous sample", async () => {
      const { pid } = await startScript("burn.mjs");
      await delay(reader === portable ? 2000 : 500);
      const start = lookAtStart(pid);
      const [{ cpuPercent }, to] = await lookAround([pid], () => sampleWith(reader, pid));
      expectPercent(cpuPercent, [start, start], to, reader === portable ? 1000 : 20);
      expect(to[0].cpuMs).toBeGreaterThan(0);
    });

    it("says so where there is no such process", async () => {
      const { pid, process: child } = await startScript("stubborn.mjs");
      child.kill("SIGKILL");
      await once(child, "exit");
      await expect(sampleWith(reader, pid)).rejects.toThrow(
        new ProcessGoneError(pid, `process ${pid} does not exist`),
      );
    });

    it("says so where the id belongs to another process", async () => {
      const { pid } = await startScript("stubborn.mjs");
      const { startTime } = await sampleWith(reader, pid);
      await expect(sampleWith(reader, pid, { startTime })).resolves.toMatchObject({ pid });
      await expect(sampleWith(reader, pid, { startTime: startTime - 10_000 })).rejects.toThrow(
        `process ${pid} has ended; its id now belongs to another process`,
      );
    });

    it("takes a zombie for gone", async () => {
      // `exec` replaces the shell by a program that never waits for the shell's child.
      const { pid, words } = await start("sh", ["-c", 'sleep 1 & echo "$$ $!"; exec sleep 60']);
      const zombie = Number(words[1]);
      await hasEnded(zombie);
      expect(readFileSync(`/proc/${zombie}/stat`, "utf8")).toMatch(/\) Z /);
      await expect(sampleWith(reader, zombie)).rejects.toThrow(ProcessGoneError);
      expect(await sampleWith(reader, pid)).toMatchObject({ processes: 1 });
    });

    it("says so where the process ends in the middle of the sample", async () => {
      const { pid, process: child } = await startScript("stubborn.mjs");
      const interrupted: ProcessReader = {
        ...reader,
        usage: async (processes) => {
          child.kill("SIGKILL");
          await once(child, "exit");
          return reader.usage(processes);
        },
      };
      await expect(sampleWith(interrupted, pid)).rejects.toThrow(`process ${pid} ended while it was sampled`);
    });

    it("leaves out a descendant that ends in the middle of the sample", async () => {
      const { pid, words } = await startScript("stubborn.mjs", ["parent"]);
      const child = Number(words[1]);
      const interrupted: ProcessReader = {
        ...reader,
        usage: async (processes) => {
          process.kill(child, "SIGKILL");
          await hasEnded(child);
          return reader.usage(processes);
        },
      };
      const sample = await sampleWith(interrupted, pid);
      expect(sample.processes).toBe(1);
      expectWithin(10, sample.rss, kernelBytes(pid, "VmRSS"));
    });

    it("does not measure from a sample of another process", async () => {
      const busy = await startScript("burn.mjs");
      const idle = await startScript("stubborn.mjs");
      const previous = await sampleWith(reader, idle.pid);
      const sample = await sampleWith(reader, busy.pid, { previous });
      expect(sample.history.cpu.base).toBeUndefined();
    });
  });

describe.skipIf(!isLinux)("on Linux", () => {
  it("splits memory as the kernel does", async () => {
    const { pid } = await startScript("stubborn.mjs");
    await freeze(pid);
    const { breakdown, rss } = await sampleProcess(pid);
    expect(rss).toBe(kernelBytes(pid, "VmRSS"));
    expect(breakdown).toEqual({
      anonymous: kernelBytes(pid, "RssAnon"),
      file: kernelBytes(pid, "RssFile"),
      shared: kernelBytes(pid, "RssShmem"),
    });
  });

  it("takes one for gone that has no memory any more, and is no zombie yet", async () => {
    // The more there is, the longer the kernel takes for it.
    const hold = "const held = Buffer.alloc(2 ** 28, 1); setInterval(() => held, 1000); console.log('held');";
    const { pid } = await start(process.execPath, ["-e", hold]);
    process.kill(pid, "SIGKILL");
    let rss: number | undefined;
    do
      rss = await sampleProcess(pid).then(
        (sample) => sample.rss,
        () => undefined,
      );
    while (rss);
    expect(rss).toBeUndefined();
  });

  it("counts the CPU of a child that has come and gone since, and counts it once", async () => {
    const { pid, process: child } = await startScript("burst.mjs");
    let previous = await sampleProcess(pid);
    let before = kernelTreeCpuMs(pid);
    for (let burst = 0; burst < 2; burst++) {
      child.kill("SIGUSR2");
      if (child.stdout) await once(child.stdout, "data");
      const sample = await sampleProcess(pid, { previous });
      const elapsedMs = sample.history.cpu.latest.at - previous.history.cpu.latest.at;
      const usedMs = kernelTreeCpuMs(pid) - before;
      expect(usedMs).toBeGreaterThan(450);
      expect(Math.abs(((sample.cpuPercent ?? 0) * elapsedMs) / 100 - usedMs)).toBeLessThan(50);
      previous = sample;
      before = kernelTreeCpuMs(pid);
    }
  });

  it("does not count again what a child had used before the previous sample", async () => {
    const { pid, words } = await startScript("burn.mjs", ["2"]);
    const child = Number(words[1]);
    await delay(1500);
    const previous = await sampleProcess(pid);
    process.kill(child, "SIGKILL");
    await hasEnded(child);
    await delay(300);
    const { cpuPercent } = await sampleProcess(pid, { previous });
    // One process is left, which is one core at most; the child's 1.5 s would come on top of it.
    expect(cpuPercent).toBeLessThan(150);
  });

  it("counts once what a zombie had used, also when its parent has waited for it", async () => {
    const burn = script("burn.mjs");
    const family = await start("sh", ["-c", `"${process.execPath}" "${burn}" & wait; exec sleep 60`]);
    const child = Number(family.words[0]);
    await delay(1000);
    let previous = await sampleProcess(family.pid);
    // A parent that is stopped can't wait for its child.
    process.kill(family.pid, "SIGSTOP");
    process.kill(child, "SIGKILL");
    await hasEnded(child);
    await delay(300);
    previous = await sampleProcess(family.pid, { previous });
    expect(previous.processes).toBe(1);
    await delay(300);
    previous = await sampleProcess(family.pid, { previous });
    expect(previous.cpuPercent).toBeLessThan(20);
    process.kill(family.pid, "SIGCONT");
    await expect.poll(() => existsSync(`/proc/${child}`)).toBe(false);
    await delay(300);
    const { cpuPercent } = await sampleProcess(family.pid, { previous });
    expect(cpuPercent).toBeLessThan(20);
  });

  it("knows how old a process is where this one was a script before it was Node", async () => {
    const { pid } = await startScript("burn.mjs");
    const sample = `
      import { sampleProcess } from ${JSON.stringify(new URL("../../dist/process/index.js", import.meta.url).href)};
      const { cpuPercent } = await sampleProcess(${pid});
      console.log(cpuPercent, Math.random());
    `;
    const { words } = await start("sh", [
      "-c",
      `sleep 2; exec "$@"`,
      "sh",
      process.execPath,
      "--input-type=module",
      "-e",
      sample,
    ]);
    expect(Math.abs(Number(words[0]) - (100 * kernelCpuMs(pid)) / kernelAgeMs(pid))).toBeLessThan(20);
  });

  it("measures CPU over 250 ms at least, however often it is asked", async () => {
    const { pid } = await startScript("burn.mjs");
    let previous = await sampleProcess(pid);
    const first = previous.history.cpu.latest;
    for (let poll = 0; poll < 10; poll++) {
      previous = await sampleProcess(pid, { previous });
      expect(previous.history.cpu).toMatchObject({ base: undefined, latest: first });
    }
    await delay(260);
    previous = await sampleProcess(pid, { previous });
    expect(previous.history.cpu.base).toBe(first);
  });

  it("sees at once what has been started or has ended since the previous sample", async () => {
    const shell = spawn("sh", ["-c", "while read -r _; do sleep 60 & echo $!; done"], {
      stdio: ["pipe", "pipe", "inherit"],
      detached: true,
    });
    const { pid = 0 } = shell;
    // With all that it has started: they are its group.
    onTestFinished(() => void process.kill(-pid, "SIGKILL"));
    const lines = createInterface({ input: shell.stdout });
    let previous = await sampleProcess(pid);
    for (const processes of [2, 3]) {
      shell.stdin.write("\n");
      await once(lines, "line");
      for (let again = 0; again < 3; again++) {
        previous = await sampleProcess(pid, { previous });
        expect(previous.processes).toBe(processes);
      }
    }
    const [child = 0] = kernelChildren(pid);
    await end(child);
    expect((await sampleProcess(pid, { previous })).processes).toBe(2);
  });

  it.skipIf(!existsSync("/proc/sys/kernel/ns_last_pid"))(
    "does not read the tree again while nothing is started on the machine",
    async () => {
      const { pid } = await startScript("stubborn.mjs");
      let previous = await sampleProcess(pid);
      const isReused = async () => {
        const earlier = previous.history.tree;
        previous = await sampleProcess(pid, { previous });
        return previous.history.tree === earlier;
      };
      await expect.poll(isReused, { interval: 10 }).toBe(true);
    },
  );

  it("tells the start time that the kernel has", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    expect(await processStartTime(pid)).toBe(Number(stat.split(") ")[1]?.split(" ")[19]));
    expect(await processStartTime(4_194_305)).toBeUndefined();
  });

  it("reads a process whose name has spaces and parentheses", async () => {
    const name = 'process.title = "a) R (b"; console.log(process.pid); setInterval(() => {}, 1000)';
    const { pid } = await start(process.execPath, ["-e", name]);
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    expect(stat).toContain("(a) R (b) ");
    expect(await procfs.find(pid)).toMatchObject({
      pid,
      ppid: process.pid,
      command: "a) R (b",
      startTime: Number(stat.split("(b) ")[1]?.split(" ")[19]),
    });
  });
});

describe("a pid that is none", () => {
  it.each([0, -1, 1.5, Number.NaN, "1", undefined, null])("refuses %s", async (pid) => {
    await expect(sampleProcess(pid as number)).rejects.toThrow(
      /^sampleProcess takes a process id: a whole number from 1, got /,
    );
  });
});
