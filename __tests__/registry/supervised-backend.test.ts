import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import {
  BackendMonitor,
  BackendSupervisor,
  ModelNotLoadedError,
  type RestartPolicy,
  StartError,
} from "../../lib/index.js";
import { systemReader } from "../../lib/process/system.js";
import { canChoosePid, end, hasEnded, isLinux, isRunning, startWithPid } from "../support/processes.js";
import {
  createSupervisor,
  escapedFrom,
  listening,
  nasty,
  temporaryFolder,
  warningsOfProcess,
} from "../support/supervisor.js";

afterEach(() => void vi.restoreAllMocks());

describe.skipIf(!isLinux)("an exit that nobody asked for", () => {
  it("takes the model off the list, is reported, and what is left is ended", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const { start, processes } = nasty("crash,daemon,session,meek");
    const { pid = 0 } = await supervisor.start(start);
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGUSR2");
    await exited;
    expect(exits).toEqual([{ name: "m", code: 3, signal: null, stderr: "something went wrong" }]);
    expect(supervisor.list()).toEqual([]);
    expect(supervisor.get("m")).toBeUndefined();
    await expect.poll(processes, { timeout: 9_000 }).toEqual([]);
    expect(failures).toEqual([]);
    expect(supervisor.logs("m")).toBe("something went wrong\n");
  });

  it("takes the model off the list though a worker holds its pipes open", async () => {
    const { supervisor, exits } = createSupervisor();
    const { start, processes } = nasty("crash,holding");
    const { pid = 0 } = await supervisor.start(start);
    process.kill(pid, "SIGKILL");
    await expect.poll(() => supervisor.list(), { interval: 5, timeout: 400 }).toEqual([]);
    await expect.poll(() => exits).toMatchObject([{ code: null, signal: "SIGKILL" }]);
    await supervisor.shutdown("m", { timeoutMs: 0 });
    expect(processes()).toEqual([]);
  });

  it("may be followed by a start, which waits until what is left is ended", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("crash,session,daemon,meek");
    const first = await supervisor.start(start);
    await expect.poll(() => processes().length).toBeGreaterThan(3);
    const before = processes();
    process.kill(first.pid ?? 0, "SIGUSR2");
    await expect.poll(() => supervisor.list(), { interval: 1 }).toEqual([]);
    const second = await supervisor.start(start);
    expect(before.filter(isRunning)).toEqual([]);
    expect(supervisor.list()).toEqual([second]);
  });

  it.skipIf(!canChoosePid)("leaves a process alone that has the id of the backend by then", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("crash,session");
    const { pid = 0 } = await supervisor.start(start);
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGKILL");
    await exited;
    const stranger = await startWithPid(pid);
    await supervisor.shutdown("m", { timeoutMs: 200 });
    expect(processes()).toEqual([]);
    expect(isRunning(pid)).toBe(true);
    expect(stranger.process.signalCode).toBeNull();
  });

  it("reaches a listener that throws as any event does, and is dealt with all the same", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("crash,daemon");
    supervisor.prependListener("exit", () => {
      throw new Error("from the listener");
    });
    const thrown = new Promise((resolve) => {
      const original = process.listeners("uncaughtException");
      process.removeAllListeners("uncaughtException");
      process.once("uncaughtException", (error) => {
        for (const listener of original) process.on("uncaughtException", listener);
        resolve(error.message);
      });
    });
    const { pid = 0 } = await supervisor.start(start);
    process.kill(pid, "SIGKILL");
    expect(await thrown).toBe("from the listener");
    await supervisor.shutdown("m", { timeoutMs: 100 });
    expect(processes()).toEqual([]);
  });

  it("is followed by the end of a worker that has neither a parent nor an environment any more", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("crash,bare,meek");
    const { pid = 0 } = await supervisor.start(start);
    expect(processes().length).toBeGreaterThan(1);
    process.kill(pid, "SIGKILL");
    await expect.poll(processes, { timeout: 3000 }).toEqual([]);
  });

  it("is a failure where something of it can't be stopped", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const { start } = nasty("escaping");
    const { pid = 0 } = await supervisor.start(start);
    const escaped = await escapedFrom(supervisor, "m");
    const failed = once(supervisor, "failed");
    process.kill(pid, "SIGKILL");
    await failed;
    expect(exits).toMatchObject([{ name: "m", signal: "SIGKILL" }]);
    expect(failures).toMatchObject([
      {
        name: "m",
        error: { message: expect.stringMatching(/^model "m" ended, but every process .* still answers/) },
      },
    ]);
    await expect(supervisor.start(start)).rejects.toThrow(/before all of its last run is stopped/);
    await end(escaped);
    await supervisor.shutdown("m");
  });

  it("is no failure where a shutdown says that something of it can't be stopped", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const { pid = 0 } = await supervisor.start(nasty("escaping").start);
    const escaped = await escapedFrom(supervisor, "m");
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGKILL");
    await exited;
    await expect(supervisor.shutdown("m")).rejects.toThrow(/still answers/);
    await delay(200);
    expect(exits).toHaveLength(1);
    expect(failures).toEqual([]);
    await end(escaped);
    await supervisor.shutdown("m");
  });

  it("and a shutdown at the same time leave the next start listed", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty();
    const { pid = 0 } = await supervisor.start(start);
    // The clearing that the exit brings about ends after the shutdown.
    const { table } = systemReader;
    const slow = vi.spyOn(systemReader, "table");
    slow.mockImplementationOnce((withIds) => delay(400).then(() => table(withIds)));
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGKILL");
    await exited;
    await expect.poll(() => slow.mock.calls.length, { interval: 1 }).toBe(1);
    const stopping = supervisor.shutdown("m");
    const model = await supervisor.start(start);
    await stopping;
    await delay(600);
    expect(supervisor.list()).toEqual([model]);
    expect(processes()).toEqual([model.pid]);
  });
});

/** A backend that says "start", and does something else while it is forbidden to start: it exits with code 9. */
function startable(restart: RestartPolicy, otherwise = "exit 9") {
  const flag = join(temporaryFolder(), "allowed");
  const allowToStart = () => writeFileSync(flag, "");
  allowToStart();
  const { start, processes } = nasty();
  const script = `echo start; [ -e "${flag}" ] || ${otherwise}; exec "$@"`;
  const args = ["-c", script, "sh", process.execPath, ...(start.args ?? [])];
  const forbidToStart = () => rmSync(flag);
  return { start: { ...start, command: "sh", args, restart }, processes, allowToStart, forbidToStart };
}

/** Starts a backend, and ends it when it may not start again. Returns how long it takes to be given up. */
async function untilGivenUp(
  supervisor: BackendSupervisor,
  { start, forbidToStart }: ReturnType<typeof startable>,
): Promise<number> {
  const { pid = 0 } = await supervisor.start(start);
  forbidToStart();
  const since = performance.now();
  const failed = once(supervisor, "failed");
  process.kill(pid, "SIGKILL");
  await failed;
  return performance.now() - since;
}

describe.skipIf(!isLinux)("restart", () => {
  const restart = { maxRetries: 3, minDelayMs: 20, maxDelayMs: 60_000 };

  it("brings it back on the same address, as another process", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const { start, processes } = nasty("crash", { restart });
    const first = await supervisor.start(start);
    process.kill(first.pid ?? 0, "SIGUSR2");
    await expect.poll(() => supervisor.get("m")?.pid ?? first.pid, { timeout: 5000 }).not.toBe(first.pid);
    const second = supervisor.get("m");
    expect(second?.address).toBe(first.address);
    expect(processes()).toEqual([second?.pid]);
    expect(exits).toMatchObject([{ code: 3 }]);
    expect(failures).toEqual([]);
  });

  it("takes another address where somebody else has taken that", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty("crash", { restart: { ...restart, minDelayMs: 1000 } });
    const first = await supervisor.start(start);
    process.kill(first.pid ?? 0, "SIGKILL");
    await hasEnded(first.pid ?? 0);
    await listening(Number(first.address.split(":")[1]));
    await expect.poll(() => supervisor.get("m")?.pid ?? first.pid, { timeout: 5000 }).not.toBe(first.pid);
    expect(supervisor.get("m")?.address).not.toBe(first.address);
  });

  it("ends what is left before it starts anew", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("respawn,daemon,meek", { restart });
    const { pid = 0 } = await supervisor.start(start);
    await expect.poll(() => processes().length).toBeGreaterThan(3);
    const before = processes();
    process.kill(pid, "SIGKILL");
    await expect.poll(() => supervisor.get("m")?.pid ?? pid, { timeout: 9_000 }).not.toBe(pid);
    expect(before.filter(isRunning)).toEqual([]);
  });

  it("gives up loudly after so many in a row, each pause twice as long as the one before", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const backend = startable({ ...restart, minDelayMs: 100 });
    const { start, processes, allowToStart } = backend;
    expect(await untilGivenUp(supervisor, backend)).toBeGreaterThanOrEqual(100 + 200 + 400);
    expect(exits.map(({ code, signal }) => signal ?? code)).toEqual(["SIGKILL", 9, 9, 9]);
    expect(failures).toHaveLength(1);
    expect(failures[0]?.name).toBe("m");
    expect(failures[0]?.error.message).toBe(
      'model "m" is given up, as 3 restarts in a row did not help; at last the start of model "m" failed: its process ' +
        "exited with code 9",
    );
    expect(supervisor.logs("m")).toBe("start\n".repeat(4));
    expect(processes()).toEqual([]);
    allowToStart();
    await supervisor.start(start);
  });

  it.each([
    ["a minute", 5, 60_001],
    ["the longest pause", 120_000, 120_001],
  ])("counts anew where it has been ready for longer than %s", async (_what, maxDelayMs, readyMs) => {
    let passedMs = 0;
    const { now } = performance;
    vi.spyOn(performance, "now").mockImplementation(() => now.call(performance) + passedMs);
    const { supervisor, exits, failures } = createSupervisor();
    const { start, forbidToStart } = startable({ maxRetries: 1, minDelayMs: 1, maxDelayMs });
    let { pid = 0 } = await supervisor.start(start);
    for (let times = 0; times < 3; times++) {
      passedMs += readyMs;
      process.kill(pid, "SIGKILL");
      await expect.poll(() => supervisor.get("m")?.pid ?? pid, { timeout: 5000 }).not.toBe(pid);
      pid = supervisor.get("m")?.pid ?? 0;
    }
    expect(failures).toEqual([]);
    passedMs += readyMs;
    forbidToStart();
    const failed = once(supervisor, "failed");
    process.kill(pid, "SIGKILL");
    await failed;
    expect(exits.map(({ code, signal }) => signal ?? code)).toEqual([
      "SIGKILL",
      "SIGKILL",
      "SIGKILL",
      "SIGKILL",
      9,
    ]);
  });

  it("is cancelled by a shutdown during the pause, also by one over HTTP, which does not find the model", async () => {
    const { supervisor, failures } = createSupervisor();
    const { start, processes } = nasty("crash", { restart: { ...restart, minDelayMs: 60_000 } });
    const monitor = new BackendMonitor({ registry: supervisor });
    const { pid = 0 } = await supervisor.start(start);
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGKILL");
    await exited;
    await expect(monitor.shutdown("m")).rejects.toThrow(ModelNotLoadedError);
    const second = await supervisor.start({ ...start, args: [...(start.args ?? []), "another"] });
    expect(processes()).toEqual([second.pid]);
    expect(failures).toEqual([]);
  });

  it("does not wait for its pause where somebody starts the model", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("crash", { restart: { ...restart, minDelayMs: 60_000 } });
    const first = await supervisor.start(start);
    const exited = once(supervisor, "exit");
    process.kill(first.pid ?? 0, "SIGKILL");
    await exited;
    await delay(200);
    const second = await supervisor.start(start);
    expect(processes()).toEqual([second.pid]);
  });

  it("is not held up by a stranger at the address that it had", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("", { restart: { ...restart, minDelayMs: 60_000 } });
    const { pid = 0, address } = await supervisor.start(start);
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGKILL");
    await exited;
    // All of the last run has been cleared away when the other one is started.
    await delay(300);
    await listening(Number(address.split(":")[1]));
    await supervisor.shutdown("m");
    const second = await supervisor.start({ ...start, args: [...(start.args ?? []), "another"] });
    expect(processes()).toEqual([second.pid]);
  });

  it("does not wait for its pause where the model is started in the listener to the exit", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("", { restart: { ...restart, minDelayMs: 60_000 } });
    const { pid = 0 } = await supervisor.start(start);
    const again = new Promise((resolve) => supervisor.once("exit", () => resolve(supervisor.start(start))));
    process.kill(pid, "SIGKILL");
    await again;
    expect(processes()).toEqual([supervisor.get("m")?.pid]);
  });

  it("tells those who wait for it that it is given up", async () => {
    const { supervisor } = createSupervisor();
    const { start, forbidToStart } = startable({ maxRetries: 1, minDelayMs: 60_000 });
    const { pid = 0 } = await supervisor.start(start);
    forbidToStart();
    const again = new Promise((resolve) => {
      supervisor.once("exit", () => resolve(supervisor.start(start).catch((error) => error)));
    });
    process.kill(pid, "SIGKILL");
    const error = await again;
    expect(error).toBeInstanceOf(StartError);
    expect(error).toMatchObject({ code: 9, signal: null });
  });

  it("is given up, too, where it is ready each time, but not for long", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const { start, processes } = nasty("", { restart: { maxRetries: 2, minDelayMs: 1, maxDelayMs: 1 } });
    let { pid = 0 } = await supervisor.start(start);
    const failed = once(supervisor, "failed");
    for (let restarts = 0; restarts < 2; restarts++) {
      process.kill(pid, "SIGKILL");
      await expect.poll(() => supervisor.get("m")?.pid ?? pid, { timeout: 5000 }).not.toBe(pid);
      pid = supervisor.get("m")?.pid ?? 0;
    }
    process.kill(pid, "SIGKILL");
    await failed;
    expect(exits.map(({ signal }) => signal)).toEqual(["SIGKILL", "SIGKILL", "SIGKILL"]);
    expect(failures[0]?.error.message).toMatch(
      /2 restarts in a row did not help; at last its process was ended by/,
    );
    expect(processes()).toEqual([]);
  });

  it("is a warning of the process where nobody listens to what failed", async () => {
    const supervisor = new BackendSupervisor();
    onTestFinished(() => supervisor.shutdownAll());
    const { start } = nasty("crash", { restart: { maxRetries: 0 } });
    const { pid = 0 } = await supervisor.start(start);
    const warned = once(process, "warning");
    process.kill(pid, "SIGUSR2");
    const [warning] = await warned;
    expect(warning.name).toBe("BackendSupervisorWarning");
    expect(warning.message).toBe(
      'model "m" is given up, as 0 restarts in a row did not help; at last its process exited with code 3',
    );
  });

  it("goes on where the signal of one who waits for it is aborted", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty("", { restart: { minDelayMs: 60_000 } });
    const { pid = 0 } = await supervisor.start(start);
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGKILL");
    await exited;
    const cancel = new AbortController();
    const again = supervisor.start({ ...start, signal: cancel.signal });
    cancel.abort(new Error("changed my mind"));
    await expect(again).rejects.toThrow("changed my mind");
    await expect.poll(() => supervisor.list(), { timeout: 5000 }).toHaveLength(1);
  });

  it("pauses for no longer than the longest pause", async () => {
    const { supervisor } = createSupervisor();
    const backend = startable({ maxRetries: 7, minDelayMs: 100, maxDelayMs: 100 });
    // 700 ms of pauses; twice as long each, they would be 12,700.
    expect(await untilGivenUp(supervisor, backend)).toBeLessThan(6000);
  });

  it("pauses again after a pause that a start cut short", async () => {
    const { supervisor } = createSupervisor();
    const { start, forbidToStart } = startable({ maxRetries: 3, minDelayMs: 150 });
    const { pid = 0 } = await supervisor.start(start);
    forbidToStart();
    const failed = once(supervisor, "failed");
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGKILL");
    await exited;
    const since = performance.now();
    await expect(supervisor.start(start)).rejects.toThrow(StartError);
    await failed;
    expect(performance.now() - since).toBeGreaterThanOrEqual(300 + 600);
  });

  it("reports no exit of a process that was stopped, as it was not ready in time", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const restart = { maxRetries: 1, minDelayMs: 10 };
    const backend = startable(restart, "exec sleep 60");
    await untilGivenUp(supervisor, { ...backend, start: { ...backend.start, readyTimeoutMs: 3000 } });
    expect(exits).toMatchObject([{ signal: "SIGKILL" }]);
    expect(failures[0]?.error.message).toMatch(
      /1 restarts in a row did not help; .* was not ready within 3000 ms/,
    );
  });

  it("is no warning of the process where somebody listens to what failed", async () => {
    const { supervisor } = createSupervisor();
    const warnings = warningsOfProcess();
    const { start } = nasty("crash", { restart: { maxRetries: 0 } });
    const { pid = 0 } = await supervisor.start(start);
    const failed = once(supervisor, "failed");
    process.kill(pid, "SIGUSR2");
    await failed;
    await delay(20);
    expect(warnings).toEqual([]);
  });

  it("is tried five times by default", async () => {
    const { supervisor, exits } = createSupervisor();
    await untilGivenUp(supervisor, startable({ minDelayMs: 1 }));
    expect(exits.map(({ code, signal }) => signal ?? code)).toEqual(["SIGKILL", 9, 9, 9, 9, 9]);
  });
});
