import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { environmentWithId } from "../../lib/process/identity.js";
import { portable } from "../../lib/process/portable.js";
import { procfs } from "../../lib/process/procfs.js";
import type { ProcessEntry, ProcessReader } from "../../lib/process/reader.js";
import { descentIn } from "../../lib/process/tree.js";
import {
  hasEnded,
  hasPs,
  isLinux,
  isRunning,
  kernelChildren,
  nodeWithFewFiles,
  start,
  startScript,
} from "../support/processes.js";

const dist = new URL("../../dist/process/procfs.js", import.meta.url).href;

function listByPs(): Map<number, number> {
  const lines = execFileSync("ps", ["-eo", "pid=,ppid="]).toString().trim().split("\n");
  return new Map(lines.map((line) => line.trim().split(/\s+/).map(Number) as [number, number]));
}

const readers: [string, ProcessReader][] = [
  ["/proc", procfs],
  ["ps-list and pidusage", portable],
];

describe.skipIf(!isLinux).each(readers)("by %s", (_name, reader) => {
  const canRead = reader === procfs || hasPs;

  it.skipIf(!canRead)("finds every descendant, parents first", async () => {
    const { pid, words } = await startScript("family.mjs");
    const [found] = (await reader.trees([{ pid }])).values();
    if (!found || found instanceof Error) throw found;
    const tree = found.processes.map((process) => process.pid);
    expect([...tree].sort()).toEqual(words.map(Number).sort());
    const [root, ...rest] = tree;
    expect(root).toBe(pid);
    expect(rest.slice(0, 2).sort()).toEqual(kernelChildren(pid).sort());
  });

  it.skipIf(!canRead)("finds one process, and sees that it is still there", async () => {
    const { pid, process: child } = await startScript("stubborn.mjs");
    const found = await reader.find(pid);
    if (!found) throw new Error(`process ${pid} was not found`);
    expect(found).toMatchObject({ pid, ppid: process.pid });
    expect(reader.isStillThere(found)).toBe(true);
    child.kill("SIGKILL");
    await hasEnded(pid);
    // ps may see it in the middle of being reaped.
    await expect.poll(() => reader.find(pid)).toBeUndefined();
    if (reader === procfs) expect(reader.isStillThere(found)).toBe(false);
  });

  it.skipIf(!hasPs)("lists what ps lists", async () => {
    const { words } = await startScript("family.mjs");
    const before = listByPs();
    const table = new Map((await reader.table()).map(({ pid, ppid }) => [pid, ppid]));
    const after = listByPs();
    // Others come and go all the time; those that were there throughout have to be in the table.
    const lasting = [...before].filter(([pid, ppid]) => after.get(pid) === ppid && isRunning(pid));
    expect(lasting.filter(([pid, ppid]) => table.get(pid) !== ppid)).toEqual([]);
    expect(lasting.map(([pid]) => pid)).toEqual(expect.arrayContaining(words.map(Number)));
  });

  it.skipIf(!canRead)("lists the same without a turn of the event loop", async () => {
    const { pid, words } = await startScript("family.mjs");
    const zombie = await start("sh", ["-c", "sleep 0 & echo $!; exec sleep 60"]);
    await expect.poll(() => isRunning(Number(zombie.words[0])), { timeout: 5000 }).toBe(false);
    const family = words.map(Number);
    const now = reader.tableNow().filter((process) => family.includes(process.pid));
    const later = (await reader.table()).filter((process) => family.includes(process.pid));
    const byPid = (a: ProcessEntry, b: ProcessEntry) => a.pid - b.pid;
    expect(now.sort(byPid).map(({ ppid }) => ppid)).toEqual(later.sort(byPid).map(({ ppid }) => ppid));
    expect(now).toHaveLength(5);
    for (const [index, process] of now.entries()) {
      expect(reader.sameStart(process.startTime, later[index]?.startTime ?? 0)).toBe(true);
    }
    // By the kernel, from Node 24 on, that is "MainThread".
    expect(now.find((process) => process.pid === pid)?.command).toMatch(/node$|^MainThread$/);
    expect(reader.tableNow().map((process) => process.pid)).not.toContain(Number(zombie.words[0]));
  });
});

describe.skipIf(!isLinux)("by /proc", () => {
  it("leaves no rejection unhandled where there are too few file descriptors", () => {
    const code = `
      const { procfs } = await import(${JSON.stringify(dist)});
      const { spawn } = await import("node:child_process");
      const { closeSync, openSync } = await import("node:fs");
      const codes = new Set();
      for (let round = 0; round < 24; round++) {
        // Their environments are to be read.
        const children = Array.from({ length: 12 }, () => spawn("sleep", ["60"], { stdio: "ignore" }));
        const files = [];
        try { for (;;) files.push(openSync("/dev/null")); } catch {}
        for (const file of files.splice(0, 1 + (round % 8))) closeSync(file);
        await procfs.table(true).catch((error) => codes.add(error.code));
        await new Promise((resolve) => setTimeout(resolve, 20));
        for (const file of files) closeSync(file);
        for (const child of children) child.kill("SIGKILL");
      }
      console.log([...codes].join());
    `;
    const [command, args] = nodeWithFewFiles(code);
    expect(execFileSync(command, args).toString()).toBe("EMFILE\n");
  });

  it("knows the ids that processes bear", async () => {
    const [id, another] = [randomUUID(), randomUUID()];
    const env = environmentWithId(environmentWithId(process.env, another), id);
    const bearer = await startScript("family.mjs", [], { env });
    const stranger = await startScript("stubborn.mjs");
    const bearersIn = (table: ProcessEntry[], ofId: string) =>
      table.filter(({ ids }) => ids?.includes(ofId)).map((process) => process.pid);
    const table = await procfs.table(true);
    expect(bearersIn(table, id).sort()).toEqual(bearer.words.map(Number).sort());
    expect(bearersIn(table, another)).toHaveLength(5);
    expect(bearersIn(table, id.slice(1))).toEqual([]);
    expect(table.map((process) => process.pid)).toContain(stranger.pid);
    expect(bearersIn(procfs.tableNow(true), id)).toHaveLength(5);
  });

  it("knows the ids of what is started while it reads those of others", async () => {
    const id = randomUUID();
    const options = { env: environmentWithId(process.env, id), stdio: "ignore" } as const;
    const startBearer = () => {
      const child = spawn("sleep", ["60"], options);
      onTestFinished(() => void child.kill("SIGKILL"));
      return child.pid;
    };
    const first = startBearer();
    const reading = procfs.table(true);
    // By now, all are listed that were there before.
    await new Promise(process.nextTick);
    const second = startBearer();
    const bearers = (await reading).filter(({ ids }) => ids?.includes(id)).map(({ pid }) => pid);
    expect(bearers.sort()).toEqual([first, second].sort());
  });

  it("sees, right before a signal, that an id belongs to another process by now", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const found = await procfs.find(pid);
    if (!found) throw new Error(`process ${pid} was not found`);
    expect(procfs.isStillThere({ ...found, startTime: found.startTime - 1 })).toBe(false);
  });
});

describe("descentIn", () => {
  const entry = (pid: number, ppid: number, startTime: number): ProcessEntry => ({
    pid,
    ppid,
    startTime,
    command: "",
  });
  const from = (root: number, ...table: ProcessEntry[]) =>
    descentIn(procfs.sameStart, table)(({ pid }) => pid === root).map(({ pid }) => pid);

  it("does not take a process that is older than its parent: the parent's id was another's before", () => {
    expect(from(5, entry(5, 1, 100), entry(6, 5, 99), entry(7, 5, 100), entry(8, 6, 101))).toEqual([5, 7]);
  });

  it("ends where processes are each other's parents, which a table read over time can show", () => {
    expect(from(5, entry(5, 6, 100), entry(6, 5, 100), entry(0, 0, 0))).toEqual([5, 6]);
    expect(from(0, entry(0, 0, 0), entry(1, 0, 1))).toEqual([0, 1]);
  });
});

describe.skipIf(process.platform === "win32")(
  "the process table by ps, without a turn of the event loop",
  () => {
    it("has start times, whole names, and no zombies", () => {
      const folder = mkdtempSync(join(tmpdir(), "ps-"));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const ps = join(folder, "ps");
      const rows = [
        "    1     0 Ss   Tue Nov  3 23:59:07 2026 init",
        "   20     1 S    Tue Nov 24 05:30:18 2026 Some Program",
        "   40    20 Z+   Tue Nov 24 05:30:18 2026 zombie",
      ];
      writeFileSync(ps, `#!/bin/sh\n${rows.map((row) => `echo "${row}"`).join("\n")}\n`);
      chmodSync(ps, 0o755);
      const path = process.env.PATH;
      process.env.PATH = `${folder}:${path}`;
      onTestFinished(() => {
        process.env.PATH = path;
      });
      const [init, program] = [new Date(2026, 10, 3, 23, 59, 7), new Date(2026, 10, 24, 5, 30, 18)];
      expect(portable.tableNow()).toEqual([
        { pid: 1, ppid: 0, startTime: init.getTime(), command: "init", ids: [] },
        { pid: 20, ppid: 1, startTime: program.getTime(), command: "Some Program", ids: [] },
      ]);
    });
  },
);
