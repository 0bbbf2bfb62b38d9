import { execFileSync, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { environmentWithId } from "../../lib/process/identity.js";
import { processStartTime, TerminateError, terminateProcessTree } from "../../lib/process/index.js";
import type { ProcessEntry } from "../../lib/process/reader.js";
import { systemReader } from "../../lib/process/system.js";
import { killTreeNow, terminateTree } from "../../lib/process/terminate.js";
import { type TrackedTree, trackTree } from "../../lib/process/track.js";
import {
  bearersOf,
  canChoosePid,
  freeze,
  hasEnded,
  isLinux,
  isRunning,
  kernelParent,
  kernelSession,
  markedEnvironment,
  nodeWithFewFiles,
  start,
  startScript,
  startWithPid,
} from "../support/processes.js";

/** The nasty backend of __tests__/processes, which says when it is there. */
function startBackend(kind: string, env: NodeJS.ProcessEnv) {
  const address = "127.0.0.1:0";
  return startScript("backend.mjs", ["--kind", `${kind},announced`, "--addr", address], {
    env: { ...process.env, ...env },
  });
}

const canHideProcesses =
  spawnSync("unshare", ["-m", "mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"]).status === 0;
const hasMkfifo = spawnSync("mkfifo", ["--help"]).status === 0;
const dist = new URL("../../dist/process/index.js", import.meta.url).href;

describe.skipIf(!isLinux)("terminateProcessTree", () => {
  it("ends the process and all its descendants", async () => {
    const { pid, words } = await startScript("family.mjs");
    await terminateProcessTree(pid);
    expect(words).toHaveLength(5);
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("sends SIGTERM first, and nothing else to what ends by it", async () => {
    const { pid, process: child } = await startScript("family.mjs");
    const exited = once(child, "exit");
    await terminateProcessTree(pid);
    expect(await exited).toEqual([null, "SIGTERM"]);
  });

  it("sends it to every process of the tree: none is left to be killed", async () => {
    const { pid, words } = await startScript("family.mjs");
    // The test would be over before the patience is.
    await terminateProcessTree(pid, { timeoutMs: 3_600_000 });
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("kills what ignores SIGTERM, once its time is over", async () => {
    const { pid, words, process: child } = await startScript("stubborn.mjs", ["parent"]);
    const exited = once(child, "exit");
    const since = performance.now();
    await terminateProcessTree(pid, { timeoutMs: 300 });
    expect(performance.now() - since).toBeGreaterThanOrEqual(300);
    expect(await exited).toEqual([null, "SIGKILL"]);
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("keeps to a child that was handed to another parent when its own died", async () => {
    const { pid, words } = await startScript("stubborn.mjs", ["mortal"]);
    await terminateProcessTree(pid, { timeoutMs: 300 });
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("continues a process that is stopped, so that it too can end by itself", async () => {
    const { pid, words, process: child } = await startScript("family.mjs");
    const exited = once(child, "exit");
    await freeze(pid);
    // The test would be over before the patience is.
    await terminateProcessTree(pid, { timeoutMs: 3_600_000 });
    expect(await exited).toEqual([null, "SIGTERM"]);
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("kills a process that is stopped and ignores SIGTERM", async () => {
    const { pid } = await startScript("stubborn.mjs");
    await freeze(pid);
    await terminateProcessTree(pid, { timeoutMs: 100 });
    expect(isRunning(pid)).toBe(false);
  });

  it("ends a child in a session of its own", async () => {
    const { mark, env } = markedEnvironment();
    const { pid } = await startBackend("session", env);
    await expect
      .poll(() => bearersOf(mark).filter((bearer) => kernelSession(bearer) === bearer))
      .toHaveLength(1);
    await terminateProcessTree(pid, { timeoutMs: 100 });
    expect(bearersOf(mark)).toEqual([]);
  });

  it("catches up with a tree that forks while it is being ended", async () => {
    const { mark, env } = markedEnvironment();
    const { pid } = await startBackend("forking,deaf,respawn", env);
    await terminateProcessTree(pid, { timeoutMs: 300 });
    expect(bearersOf(mark)).toEqual([]);
  });

  it("takes a zombie that nobody reaps for gone", async () => {
    const { pid: parent, words } = await start("sh", ["-c", 'sleep 60 & echo "$! $$"; exec sleep 60']);
    const pid = Number(words[0]);
    // The shell itself would reap it.
    await expect.poll(() => readFileSync(`/proc/${parent}/comm`, "utf8")).toBe("sleep\n");
    await terminateProcessTree(pid);
    expect(readFileSync(`/proc/${pid}/status`, "utf8")).toMatch(/^State:\s+Z/m);
    expect(isRunning(parent)).toBe(true);
  });

  it.skipIf(!canChoosePid)("leaves a process alone that gets the id of one that it ended", async () => {
    // A child that dies of SIGTERM, and a parent that does not: the child's id is free while the parent has its time.
    const code = `
      const child = require("node:child_process").spawn("sleep", ["60"]);
      process.on("SIGTERM", () => {});
      console.log(child.pid, process.pid);
    `;
    const { pid, words } = await start(process.execPath, ["-e", code]);
    const child = Number(words[0]);
    const terminating = terminateProcessTree(pid, { timeoutMs: 1000 });
    await hasEnded(child);
    await expect.poll(() => existsSync(`/proc/${child}`)).toBe(false);
    const stranger = await startWithPid(child);
    await terminating;
    expect(isRunning(pid)).toBe(false);
    expect(isRunning(child)).toBe(true);
    expect(stranger.process.signalCode).toBeNull();
  });

  it("leaves a process of another start time alone", async () => {
    const { pid, process: child } = await startScript("family.mjs");
    const startTime = (await processStartTime(pid)) ?? 0;
    await terminateProcessTree(pid, { startTime: startTime - 1 });
    expect(isRunning(pid)).toBe(true);
    expect(child.signalCode).toBeNull();
    await terminateProcessTree(pid, { startTime });
    expect(isRunning(pid)).toBe(false);
  });

  it("has nothing to do where the process has ended", async () => {
    const { pid, process: child } = await startScript("stubborn.mjs");
    child.kill("SIGKILL");
    await hasEnded(pid);
    await terminateProcessTree(pid);
  });

  it("leaves a bystander alone", async () => {
    const [bystander, target] = [await startScript("family.mjs"), await startScript("family.mjs")];
    await terminateProcessTree(target.pid);
    expect(bystander.words.map(Number).every(isRunning)).toBe(true);
  });

  it("refuses to end this process, and any that it descends from", async () => {
    for (const pid of [process.pid, process.ppid]) {
      const refusal = terminateProcessTree(pid);
      await expect(refusal).rejects.toThrow(TerminateError);
      await expect(refusal).rejects.toThrow(
        `this is the server itself, or a process that started it: ${process.pid}`,
      );
    }
  });

  it.skipIf(process.getuid?.() !== 0)("ends what it is permitted to end, and names the rest", async () => {
    const { pid, words } = await startScript("setuid.mjs");
    const attempt = `
      const { terminateProcessTree } = await import(${JSON.stringify(dist)});
      process.setgid(65534);
      process.setuid(65534);
      await terminateProcessTree(${pid}, { timeoutMs: 200 }).catch((error) => console.log(error.message));
    `;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", attempt]);
    expect(output.toString()).toBe(
      `the operating system does not permit to stop these processes: ${words[1]} ("node")\n`,
    );
    expect(words.map(Number).map(isRunning)).toEqual([false, true]);
  });

  it.skipIf(process.getuid?.() !== 0)(
    "waits for what it is not permitted to end, where that ends with the rest",
    async () => {
      const { pid, words } = await startScript("setuid.mjs", ["child ends with its parent"]);
      const attempt = `
      const { terminateProcessTree } = await import(${JSON.stringify(dist)});
      process.setgid(65534);
      process.setuid(65534);
      await terminateProcessTree(${pid}).catch((error) => console.log(error.message));
    `;
      expect(execFileSync(process.execPath, ["--input-type=module", "-e", attempt]).toString()).toBe("");
      expect(words.map(Number).filter(isRunning)).toEqual([]);
    },
  );

  it("leaves nothing stopped where the process table can't be read any more in the middle of it", async () => {
    const { pid, process: child } = await startScript("stubborn.mjs");
    const exited = once(child, "exit");
    // All file descriptors are used up as soon as the process has been stopped.
    const attempt = `
      const { terminateProcessTree } = await import(${JSON.stringify(dist)});
      const { openSync } = await import("node:fs");
      const kill = process.kill;
      process.kill = (pid, signal) => {
        kill.call(process, pid, signal);
        try {
          if (signal === "SIGSTOP") for (;;) openSync("/dev/null");
        } catch {}
      };
      await terminateProcessTree(${pid}, { timeoutMs: 0 }).catch((error) => console.log(error.code));
    `;
    const [command, args] = nodeWithFewFiles(attempt);
    expect(execFileSync(command, args).toString()).toBe("EMFILE\n");
    expect(await exited).toEqual([null, "SIGKILL"]);
  });

  it.skipIf(process.getuid?.() !== 0)("names what it is not permitted to end, at once", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const attempt = `
      const { terminateProcessTree } = await import(${JSON.stringify(dist)});
      await terminateProcessTree(${pid}).catch((error) => console.log(error.message, error.processes));
    `;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", attempt], {
      uid: 65534,
      gid: 65534,
    });
    expect(output.toString()).toContain(
      `the operating system does not permit to stop these processes: ${pid} ("node")`,
    );
    expect(isRunning(pid)).toBe(true);
  });

  it.skipIf(!canHideProcesses)("does not take a process for gone that the system hides", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const attempt = `
      const { sampleProcess, terminateProcessTree } = await import(${JSON.stringify(dist)});
      process.setgid(65534);
      process.setuid(65534);
      await terminateProcessTree(${pid}).catch((error) => console.log(error.message));
      await sampleProcess(${pid}).catch((error) => console.log(error.message));
    `;
    const hide = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"';
    const args = ["-m", "sh", "-c", hide, "sh", process.execPath, "--input-type=module", "-e", attempt];
    expect(execFileSync("unshare", args).toString().split("\n")).toEqual([
      `the operating system does not show this process: ${pid} ("?")`,
      `process ${pid} is another user's, and this system hides it`,
      "",
    ]);
    expect(isRunning(pid)).toBe(true);
  });

  it("refuses what is no process id, or no option", async () => {
    await expect(terminateProcessTree(0)).rejects.toThrow(TypeError);
    await expect(terminateProcessTree(-1)).rejects.toThrow(/whole number from 1/);
    await expect(terminateProcessTree(5, { timeoutMs: -1 })).rejects.toThrow(
      /"timeoutMs" takes a whole number/,
    );
    await expect(terminateProcessTree(5, { timeout: 1 } as object)).rejects.toThrow(/no option "timeout"/);
  });
});

describe.skipIf(!isLinux)("a tree whose processes bear an id", () => {
  it("has those whose parents ended before anybody looked", async () => {
    const { mark, env } = markedEnvironment();
    const id = randomUUID();
    const { pid } = await startBackend("daemon", environmentWithId(env, id));
    await expect
      .poll(() => bearersOf(mark).filter((bearer) => bearer !== pid && isOrphan(bearer, pid)))
      .not.toEqual([]);
    await terminateTree(trackTree(pid, { id, startTime: await processStartTime(pid) }), 100);
    expect(bearersOf(mark)).toEqual([]);
  });

  it("has them also where its first process is gone, and leaves alone what has its process id now", async () => {
    const { mark, env } = markedEnvironment();
    const id = randomUUID();
    const { pid, process: child } = await startBackend("daemon,session", environmentWithId(env, id));
    await expect
      .poll(() => bearersOf(mark).filter((bearer) => bearer !== pid && isOrphan(bearer, pid)))
      .not.toEqual([]);
    const startTime = await processStartTime(pid);
    child.kill("SIGKILL");
    await once(child, "exit");
    const stranger = canChoosePid ? await startWithPid(pid) : undefined;
    await terminateTree(trackTree(pid, { id, startTime }), 100);
    expect(bearersOf(mark)).toEqual([]);
    if (stranger) expect(isRunning(stranger.pid)).toBe(true);
  });

  it("has a worker that is handed on from process to process", async () => {
    const { mark, env } = markedEnvironment();
    const id = randomUUID();
    const { pid } = await startBackend("chain", environmentWithId(env, id));
    const startTime = await processStartTime(pid);
    await terminateTree(trackTree(pid, { id, startTime }), 100);
    expect(bearersOf(mark)).toEqual([]);
  });

  it.skipIf(!hasMkfifo)("has those whose environment can't be read for a while", async () => {
    const { mark, env } = markedEnvironment();
    const id = randomUUID();
    const { pid } = await startBackend("daemon", environmentWithId(env, id));
    const startTime = await processStartTime(pid);
    await expect
      .poll(() => bearersOf(mark).filter((each) => each !== pid && isOrphan(each, pid)))
      .not.toEqual([]);
    const held = holdThreads();
    await terminateTree(trackTree(pid, { id, startTime }), 100);
    expect(bearersOf(mark)).toEqual([]);
    await held;
  });

  it("does not have those that bear another id, nor those that only look alike", async () => {
    const [id, other] = [randomUUID(), randomUUID()];
    const { pid } = await startBackend("daemon", environmentWithId({}, id));
    const bystanders = [
      await startBackend("", environmentWithId({}, other)),
      await startBackend("", { SOME_ID: id, EXPRESS_BACKEND_MONITOR_ID_2: id }),
      await startBackend("", { EXPRESS_BACKEND_MONITOR_ID: `${id}0` }),
      await startBackend(id, {}),
    ];
    await terminateTree(trackTree(pid, { id }), 100);
    expect(bystanders.map((bystander) => isRunning(bystander.pid))).toEqual([true, true, true, true]);
    expect(bystanders.map((bystander) => bystander.process.signalCode)).toEqual([null, null, null, null]);
  });

  it("is part of one whose host bears an id itself", async () => {
    const { mark, env } = markedEnvironment();
    const [outer, inner] = [randomUUID(), randomUUID()];
    const nested = environmentWithId(environmentWithId(env, outer), inner);
    const { pid } = await startBackend("daemon", nested);
    const host = await startScript("stubborn.mjs", ["mortal"]);
    await expect
      .poll(() => bearersOf(mark).filter((bearer) => bearer !== pid && isOrphan(bearer, pid)))
      .not.toEqual([]);
    await terminateTree(trackTree(host.pid, { id: outer }), 100);
    expect(bearersOf(mark)).toEqual([]);
  });
});

/** Holds all four threads of Node's pool for four seconds: nobody writes to what they read. */
async function holdThreads(): Promise<void> {
  const fifo = join(tmpdir(), randomUUID());
  execFileSync("mkfifo", [fifo]);
  const reads = Array.from({ length: 4 }, () => readFile(fifo));
  await delay(4000);
  closeSync(openSync(fifo, "w"));
  await Promise.all(reads);
  rmSync(fifo);
}

/** Whether a process was handed to another parent than the backend that it comes from. */
function isOrphan(pid: number, backend: number): boolean {
  for (let parent = kernelParent(pid); parent > 1; parent = kernelParent(parent)) {
    if (parent === backend) return false;
  }
  return true;
}

afterEach(() => void vi.restoreAllMocks());

async function entryOf(pid: number): Promise<ProcessEntry> {
  const found = await systemReader.find(pid);
  if (!found) throw new Error(`process ${pid} was not found`);
  return found;
}

/** A tree that shows what it is told to, look by look, and nothing after that. */
function treeOf(...looks: ProcessEntry[][]): TrackedTree {
  return { left: async () => looks.shift() ?? [], leftNow: () => looks.shift() ?? [] };
}

const gone = (pid: number): ProcessEntry => ({ pid, ppid: 1, startTime: -1, command: "gone" });

describe.skipIf(!isLinux)("terminateTree", () => {
  it("looks, right before each signal, whether the process is still the one that was seen", async () => {
    const { pid, process: child } = await startScript("family.mjs");
    const found = await entryOf(pid);
    const other = { ...found, startTime: found.startTime - 1 };
    await terminateTree(treeOf([other]), 1000);
    await terminateTree(treeOf([other], [other]), 0);
    await delay(50);
    expect(isRunning(pid)).toBe(true);
    expect(child.signalCode).toBeNull();
  });

  it("names what it is not permitted to end, and may be called again", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const denied = vi.spyOn(process, "kill").mockImplementation(() => {
      throw Object.assign(new Error("kill EPERM"), { code: "EPERM" });
    });
    await expect(terminateProcessTree(pid)).rejects.toThrow(
      `the operating system does not permit to stop these processes: ${pid} ("node")`,
    );
    denied.mockRestore();
    await terminateProcessTree(pid, { timeoutMs: 100 });
    expect(isRunning(pid)).toBe(false);
  });

  it("gives up on what is still there long after SIGKILL", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    let looks = 0;
    const process = gone(4_000_000);
    const left = async () => {
      vi.advanceTimersByTime(500);
      return looks++ < 100 ? [process] : [];
    };
    const terminating = terminateTree({ left, leftNow: () => [] }, 1000);
    await expect(terminating).rejects.toThrow(TerminateError);
    await expect(terminating).rejects.toThrow("these processes are still there after SIGKILL: 4000000");
  });

  it("kills at last what never stops bringing forth new processes", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    vi.advanceTimersByTime(1000);
    let looks = 0;
    const left = async () => {
      vi.advanceTimersByTime(100);
      return looks++ < 100 ? [gone(4_000_000 + looks)] : [];
    };
    await expect(terminateTree({ left, leftNow: () => [] }, 0)).rejects.toThrow(/still there after SIGKILL/);
  });

  it("kills nothing a second time where it fails after the killing: the id may be another's by then", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const entry = await entryOf(pid);
    const kill = vi.spyOn(process, "kill");
    const looks = [[entry], [entry]];
    const left = async () => {
      const look = looks.shift();
      if (!look) throw new Error("no process table any more");
      return look;
    };
    await expect(terminateTree({ left, leftNow: () => [] }, 0)).rejects.toThrow("no process table any more");
    expect(kill.mock.calls).toEqual([
      [pid, "SIGSTOP"],
      [pid, "SIGKILL"],
    ]);
  });

  it("sends each signal once, however long the process takes", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const kill = vi.spyOn(process, "kill");
    await terminateProcessTree(pid, { timeoutMs: 350 });
    expect(kill.mock.calls.map(([, signal]) => signal)).toEqual(["SIGTERM", "SIGCONT", "SIGSTOP", "SIGKILL"]);
  });

  it.skipIf(!canChoosePid)(
    "leaves a process alone that gets the id of the first one of the tree",
    async () => {
      const { pid, words } = await startScript("stubborn.mjs", ["mortal"]);
      const terminating = terminateProcessTree(pid, { timeoutMs: 1000 });
      await hasEnded(pid);
      await expect.poll(() => existsSync(`/proc/${pid}`)).toBe(false);
      const stranger = await startWithPid(pid);
      await terminating;
      expect(isRunning(Number(words[1]))).toBe(false);
      expect(isRunning(pid)).toBe(true);
      expect(stranger.process.signalCode).toBeNull();
    },
  );
});

describe.skipIf(!isLinux)("killTreeNow", () => {
  it("looks again until nothing is left", async () => {
    const [one, other] = [await startScript("stubborn.mjs"), await startScript("stubborn.mjs")];
    const [first, second] = [await entryOf(one.pid), await entryOf(other.pid)];
    killTreeNow(treeOf([first], [first], [second], [second]));
    await hasEnded(one.pid);
    await hasEnded(other.pid);
  });
});

describe.skipIf(!isLinux)("trackTree with an id", () => {
  it("takes nothing for gone that a single look can miss", async () => {
    const id = randomUUID();
    const hidden: ProcessEntry = { pid: 4_000_000, ppid: 1, startTime: 5, command: "x", ids: [id] };
    const looks = [[], [], [], [hidden]];
    vi.spyOn(systemReader, "table").mockImplementation(async () => looks.shift() ?? []);
    expect(await trackTree(4_000_001, { id }).left()).toEqual([hidden]);
    const looksNow = [[], [], [], [hidden]];
    vi.spyOn(systemReader, "tableNow").mockImplementation(() => looksNow.shift() ?? []);
    expect(trackTree(4_000_001, { id }).leftNow(true)).toEqual([hidden]);
  });
});
