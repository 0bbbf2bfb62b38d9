import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { portable } from "../../lib/process/portable.js";
import { procfs } from "../../lib/process/procfs.js";
import type { ProcessReader, WantedTree } from "../../lib/process/reader.js";
import {
  ProcessGoneError,
  type ProcessSample,
  sampleAllWith,
  sampleProcesses,
  sampleWith,
} from "../../lib/process/stats.js";
import { NEVER_STARTED } from "../../lib/process/system.js";
import { end, freeze, hasEnded, hasPs, isLinux, start } from "../support/processes.js";

/** Of two children, one has a child itself. They cost little, of which a busy machine may not have much. */
const FAMILY =
  'sleep 60 & a=$!; (sleep 60 & read -r b _ </proc/self/stat; echo "$$ $b $! $a"; wait) & wait; exec sleep 60';

/** A process, a child, the child of that, and another child; they do not change any more. */
async function startFrozenFamily(): Promise<number[]> {
  const { words } = await start("sh", ["-c", FAMILY]);
  const pids = words.map(Number);
  await Promise.all(pids.map(freeze));
  return pids;
}

async function startFrozen(): Promise<number> {
  const { pid } = await start("sh", ["-c", "echo ready; exec sleep 60"]);
  await freeze(pid);
  return pid;
}

/** A process with a child, for which it waits. */
function startParent() {
  return start("sh", ["-c", 'sleep 60 & echo "$!"; wait; exec sleep 60']);
}

const wanted = (pids: readonly number[]) => pids.map((pid) => ({ pid }));

/** The samples, where each could be taken. */
function sound(outcomes: readonly (ProcessSample | Error)[]): ProcessSample[] {
  return outcomes.map((outcome) => {
    if (outcome instanceof Error) throw outcome;
    return outcome;
  });
}

/** What of a sample stays as it is while nothing of the tree changes. ps tells start times that do not quite. */
function figures({ history, cpuPercent, startedAt, startTime, ...lasting }: ProcessSample) {
  return lasting;
}

const readers: [string, ProcessReader, isMissing: boolean][] = [
  ["/proc", procfs, !isLinux],
  ["ps-list and pidusage", portable, !isLinux || !hasPs],
];

for (const [name, reader, isMissing] of readers)
  describe.skipIf(isMissing)(`many trees by ${name}`, () => {
    it("have each the figures of its own, in the order in which they were asked for", async () => {
      const [family = 0] = await startFrozenFamily();
      const pids = [await startFrozen(), family, await startFrozen()];
      const together = sound(await sampleAllWith(reader, wanted(pids)));
      const alone: ProcessSample[] = [];
      for (const pid of pids) alone.push(await sampleWith(reader, pid));
      expect(together.map(figures)).toEqual(alone.map(figures));
      expect(together.map(({ pid }) => pid)).toEqual(pids);
      expect(together.map(({ processes }) => processes)).toEqual([1, 4, 1]);
      for (const [index, { startTime, startedAt }] of together.entries()) {
        expect(reader.sameStart(startTime, alone[index]?.startTime ?? 0)).toBe(true);
        expect(Math.abs(startedAt - (alone[index]?.startedAt ?? 0))).toBeLessThan(2000);
      }
    });

    it("are not spoilt by one that is gone, has ended, never started or whose id is another's", async () => {
      const pid = await startFrozen();
      const { startTime } = await sampleWith(reader, pid);
      const gone = await startParent();
      await end(gone.pid);
      await expect.poll(() => existsSync(`/proc/${gone.pid}`)).toBe(false);
      // `exec` replaces the shell by a program that never waits for the shell's child.
      const withZombie = await start("sh", ["-c", 'sleep 0 & echo "$!"; exec sleep 60']);
      const zombie = Number(withZombie.words[0]);
      await hasEnded(zombie);

      const isAnother = "has ended; its id now belongs to another process";
      const outcomes = await sampleAllWith(reader, [
        { pid: gone.pid },
        { pid, startTime },
        { pid, startTime: startTime - 10_000 },
        { pid: zombie },
        { pid, startTime: NEVER_STARTED },
        { pid: withZombie.pid },
        { pid: gone.pid, startTime: NEVER_STARTED },
      ]);
      expect(outcomes).toEqual([
        new ProcessGoneError(gone.pid, `process ${gone.pid} does not exist`),
        expect.objectContaining({ pid, processes: 1 }),
        new ProcessGoneError(pid, `process ${pid} ${isAnother}`),
        new ProcessGoneError(zombie, `process ${zombie} does not exist`),
        new ProcessGoneError(pid, `process ${pid} ${isAnother}`),
        expect.objectContaining({ pid: withZombie.pid, processes: 1 }),
        new ProcessGoneError(gone.pid, `process ${gone.pid} does not exist`),
      ]);
    });

    it("are not spoilt by one that ends in the middle", async () => {
      const [pid, ending] = [await startFrozen(), await startParent()];
      const interrupted: ProcessReader = {
        ...reader,
        usage: async (processes) => {
          ending.process.kill("SIGKILL");
          await once(ending.process, "exit");
          return reader.usage(processes);
        },
      };
      expect(await sampleAllWith(interrupted, [{ pid: ending.pid }, { pid }])).toEqual([
        new ProcessGoneError(ending.pid, `process ${ending.pid} ended while it was sampled`),
        expect.objectContaining({ pid, processes: 1 }),
      ]);
    });

    it("are read in one pass, a process of several of them once, and parents first", async () => {
      const [root = 0, child = 0, ...others] = await startFrozenFamily();
      const pid = await startFrozen();
      const passes: number[][] = [];
      const usages: number[][] = [];
      const counting: ProcessReader = {
        ...reader,
        trees: (trees) => {
          passes.push(trees.map((each) => each.pid));
          return reader.trees(trees);
        },
        usage: (processes) => {
          usages.push(processes.map((process) => process.pid));
          return reader.usage(processes);
        },
      };
      const pids = [child, pid, root, pid];
      const samples = sound(await sampleAllWith(counting, wanted(pids)));
      expect(samples.map(({ processes }) => processes)).toEqual([2, 1, 4, 1]);
      expect(samples.slice(0, 3).map(figures)).toEqual(
        (await Promise.all([child, pid, root].map((each) => sampleWith(reader, each)))).map(figures),
      );
      expect(samples.slice(3).map(figures)).toEqual(samples.slice(1, 2).map(figures));
      expect(passes).toEqual([pids]);
      expect(usages).toHaveLength(1);
      const [read = []] = usages;
      expect([...read].sort()).toEqual([root, child, ...others, pid].sort());
      expect(read.indexOf(root)).toBeLessThan(read.indexOf(child));
    });

    it("of which something has ended are read anew, together and without the others", async () => {
      const parents = [await startParent(), await startParent()] as const;
      const pids = [parents[0].pid, await startFrozen(), parents[1].pid];
      const passes: WantedTree[][] = [];
      // As if nothing had been started on the machine meanwhile.
      const remembering: ProcessReader = {
        ...reader,
        trees: async (asked) => {
          passes.push([...asked]);
          const trees = await reader.trees(asked.filter(({ earlier }) => !earlier));
          return new Map(asked.map((each) => [each, each.earlier ?? trees.get(each) ?? new Error()]));
        },
      };
      const sampleAll = async (previous?: ProcessSample[]) =>
        sound(
          await sampleAllWith(
            remembering,
            pids.map((pid, index) => ({ pid, previous: previous?.[index] })),
          ),
        );
      const first = await sampleAll();
      const second = await sampleAll(first);
      expect(second.map(({ history }) => history.tree)).toEqual(first.map(({ history }) => history.tree));
      for (const { words } of parents) {
        await end(Number(words[0]));
        await expect.poll(() => existsSync(`/proc/${words[0]}`)).toBe(false);
      }
      const third = await sampleAll(second);
      expect(third.map(({ processes }) => processes)).toEqual([1, 1, 1]);
      expect(third.map(({ pid }) => pid)).toEqual(pids);
      expect(third[1]?.history.tree).toBe(first[1]?.history.tree);
      expect(passes.map((pass) => pass.map(({ pid }) => pid))).toEqual([
        pids,
        pids,
        pids,
        [pids[0], pids[2]],
      ]);
    });

    it("are none, and nothing is read, where none is asked for", async () => {
      const trees = vi.spyOn(reader, "trees");
      onTestFinished(() => trees.mockRestore());
      expect(await sampleAllWith(reader, [])).toEqual([]);
      expect(trees).not.toHaveBeenCalled();
    });
  });

describe("a reading that fails as a whole", () => {
  const failing = (what: Partial<ProcessReader>): ProcessReader => ({ ...procfs, ...what });
  const error = new Error("no more files");

  it.each([
    ["trees", failing({ trees: () => Promise.reject(error) })],
    ["usage", failing({ usage: () => Promise.reject(error) })],
  ])("is told of each of them: %s", async (_what, reader) => {
    expect(await sampleAllWith(reader, wanted([process.pid, process.ppid]))).toEqual([error, error]);
    await expect(sampleWith(reader, process.pid)).rejects.toBe(error);
  });

  // On Windows no ps is used.
  it.skipIf(process.platform === "win32")("is told of each where there is no ps", async () => {
    vi.stubEnv("PATH", "");
    onTestFinished(() => void vi.unstubAllEnvs());
    const outcomes = await sampleAllWith(portable, wanted([process.pid, process.ppid]));
    const unlisted = expect.objectContaining({ message: expect.stringContaining("can't be listed") });
    expect(outcomes).toEqual([unlisted, unlisted]);
  });
});

describe.skipIf(!isLinux || !hasPs)("by ps", () => {
  it("as many programs are started for many trees as for one", async () => {
    const pids = [await startFrozen(), await startFrozen(), ...(await startFrozenFamily())];
    const folder = mkdtempSync(join(tmpdir(), "ps-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [ps, runs] = [join(folder, "ps"), join(folder, "runs")];
    const realPs = execFileSync("sh", ["-c", "command -v ps"]).toString().trim();
    writeFileSync(ps, `#!/bin/sh\necho run >> "${runs}"\nexec ${realPs} "$@"\n`);
    chmodSync(ps, 0o755);
    vi.stubEnv("PATH", `${folder}:${process.env.PATH}`);
    onTestFinished(() => void vi.unstubAllEnvs());
    const countRuns = async (pids: number[]) => {
      writeFileSync(runs, "");
      sound(await sampleAllWith(portable, wanted(pids)));
      return readFileSync(runs, "utf8").length;
    };
    const forOne = await countRuns(pids.slice(0, 1));
    expect(forOne).toBeGreaterThan(0);
    expect(await countRuns(pids)).toBe(forOne);
  });
});

describe.skipIf(!isLinux)("by /proc", () => {
  /** The reader on a kernel that may have other files, and which of them it has opened and listed. */
  async function readerWith(hasFile: (path: unknown) => boolean) {
    const seen: unknown[] = [];
    vi.resetModules();
    vi.doMock("node:fs", async (importOriginal) => {
      const fs = await importOriginal<typeof import("node:fs")>();
      return {
        ...fs,
        existsSync: (path: string) => hasFile(path) && fs.existsSync(path),
        openSync: (path: string, flags: string) => {
          seen.push(path);
          return fs.openSync(path, flags);
        },
        readdirSync: (path: string) => {
          seen.push(path);
          return fs.readdirSync(path);
        },
      };
    });
    onTestFinished(() => {
      vi.doUnmock("node:fs");
      vi.resetModules();
    });
    const { procfs } = await import("../../lib/process/procfs.js");
    const count = (path: string) => seen.filter((each) => each === path).length;
    return { reader: procfs, count };
  }

  const LAST_PID = "/proc/sys/kernel/ns_last_pid";

  it("one table is read for all where the kernel has no files of children", async () => {
    const { reader, count } = await readerWith((path) => path !== "/proc/thread-self/children");
    const [root = 0, child = 0] = await startFrozenFamily();
    const pids = [child, await startFrozen(), root];
    const samples = sound(await sampleAllWith(reader, wanted(pids)));
    expect(samples.map(({ processes }) => processes)).toEqual([2, 1, 4]);
    expect(samples.map(figures)).toEqual(sound(await sampleProcesses(wanted(pids))).map(figures));
    expect([count("/proc"), count(LAST_PID)]).toEqual([1, 1]);
    const later = await sampleAllWith(
      reader,
      samples.map((previous) => ({ pid: previous.pid, previous })),
    );
    expect(sound(later).map(({ processes }) => processes)).toEqual([2, 1, 4]);
    expect([count("/proc"), count(LAST_PID)]).toEqual([2, 2]);
  });

  it("no table is read where it has, nor where nothing is there", async () => {
    const { reader, count } = await readerWith(() => true);
    const pids = [await startFrozen(), await startFrozen()];
    await sampleAllWith(reader, wanted(pids));
    expect([count("/proc"), count(LAST_PID)]).toEqual([0, 1]);
    const without = await readerWith((path) => path !== "/proc/thread-self/children");
    await sampleAllWith(without.reader, wanted([4_194_305, 4_194_306]));
    expect(without.count("/proc")).toBe(0);
  });

  it("others have their turn in the middle of many", async () => {
    const [root = 0] = await startFrozenFamily();
    let turns = 0;
    let isOver = false;
    setImmediate(function turn() {
      turns++;
      if (!isOver) setImmediate(turn);
    });
    // More than a thousand files, which no machine reads within two slices.
    sound(await sampleProcesses(Array.from({ length: 100 }, () => ({ pid: root }))));
    isOver = true;
    expect(turns).toBeGreaterThan(3);
  });
});
