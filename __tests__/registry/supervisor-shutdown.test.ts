import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import { systemReader } from "../../lib/process/system.js";
import { end, freePort, isLinux, isRunning, script, start } from "../support/processes.js";
import { createSupervisor, escapedFrom, listening, nasty } from "../support/supervisor.js";

/** Longer than any test: what is stopped within it was not killed. */
const FOR_EVER_MS = 3_600_000;

const dist = new URL("../../dist/index.js", import.meta.url).href;

afterEach(() => void vi.restoreAllMocks());

describe.skipIf(!isLinux)("shutdown", () => {
  it.each([
    "bare",
    "chain",
    "daemon",
    "deaf",
    "flood",
    "forking",
    "holding",
    "polite",
    "respawn",
    "session",
    "slow",
    "stopped",
    "zombies",
    "bare,chain,daemon,deaf,forking,respawn,session",
  ])("leaves nothing of a backend that is %s", async (kind) => {
    const { supervisor, exits } = createSupervisor();
    const { start, processes } = nasty(kind);
    const { pid = 0, address } = await supervisor.start(start);
    expect(isRunning(pid)).toBe(true);
    await supervisor.shutdown("m", { timeoutMs: 300 });
    expect(processes()).toEqual([]);
    expect(isRunning(pid)).toBe(false);
    await listening(Number(address.split(":")[1]));
    expect(supervisor.list()).toEqual([]);
    expect(exits).toEqual([]);
  });

  it.each(["polite", "slow", "stopped", "zombies"])("kills nothing of one that is %s", async (kind) => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty(kind);
    await supervisor.start(start);
    await supervisor.shutdown("m", { timeoutMs: FOR_EVER_MS });
    expect(processes()).toEqual([]);
  });

  it("has nothing to do for a model that is not there", async () => {
    await createSupervisor().supervisor.shutdown("m");
  });

  it("is one for all who ask at the same time", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("polite,session");
    await supervisor.start(start);
    await Promise.all([1, 2, 3].map(() => supervisor.shutdown("m", { timeoutMs: 200 })));
    expect(processes()).toEqual([]);
    expect(supervisor.logs("m")?.match(/SIGTERM/g)).toHaveLength(1);
  });

  it("is hurried by one with less patience", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("deaf,session");
    await supervisor.start(start);
    const stopping = supervisor.shutdown("m", { timeoutMs: FOR_EVER_MS });
    await delay(50);
    expect(processes()).not.toEqual([]);
    await supervisor.shutdownAll({ timeoutMs: 0 });
    await stopping;
    expect(processes()).toEqual([]);
  });

  it.each([
    [{ timeoutMs: "2000" }, /shutdown: option "timeoutMs" takes a whole number .* got the string "2000"/],
    [{ timeoutMs: Number.NaN }, /option "timeoutMs"/],
    [{ timeoutMS: 5 }, /no option "timeoutMS"; its options are force, timeoutMs, signal/],
    [{ force: 1 }, /option "force" takes true or false, got the number 1/],
  ])("refuses %j", async (options, message) => {
    const { supervisor } = createSupervisor();
    await expect(supervisor.shutdown("m", options as object)).rejects.toThrow(TypeError);
    await expect(supervisor.shutdown("m", options as object)).rejects.toThrow(message);
    await expect(supervisor.shutdownAll(options as object)).rejects.toThrow(TypeError);
  });

  it("stops what was killed from outside in the middle of it", async () => {
    const { supervisor, exits } = createSupervisor();
    const { start, processes } = nasty("deaf,session,daemon");
    const { pid = 0 } = await supervisor.start(start);
    const stopping = supervisor.shutdown("m", { timeoutMs: 300 });
    process.kill(pid, "SIGKILL");
    await stopping;
    expect(processes()).toEqual([]);
    expect(exits).toEqual([]);
  });

  it("leaves other models alone", async () => {
    const { supervisor } = createSupervisor();
    const [one, other] = [nasty("daemon", { name: "one" }), nasty("daemon", { name: "other" })];
    await supervisor.start(one.start);
    const model = await supervisor.start(other.start);
    const before = other.processes().filter((pid) => isRunning(pid));
    await supervisor.shutdown("one", { timeoutMs: 100 });
    expect(one.processes()).toEqual([]);
    expect(other.processes()).toEqual(expect.arrayContaining([model.pid, before[1]]));
    expect(supervisor.list()).toEqual([model]);
  });

  it("says so where its address still answers, keeps the model listed, and may be tried again", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("escaping", { address: `127.0.0.1:${await freePort()}` });
    const model = await supervisor.start(start);
    const escaped = await escapedFrom(supervisor, "m");
    const stopping = supervisor.shutdown("m");
    await expect(stopping).rejects.toThrow(
      `every process of model "m" that can be found is gone, but "${model.address}" still answers; end what listens there`,
    );
    expect(processes()).toEqual([]);
    expect(isRunning(escaped)).toBe(true);
    expect(supervisor.list()).toEqual([model]);
    await expect(supervisor.start(start)).rejects.toThrow(
      /model "m" can't be started before all of its last run is stopped \(every process .*\); shut it down first/,
    );
    await end(escaped);
    await supervisor.shutdown("m");
    expect(supervisor.list()).toEqual([]);
    await supervisor.start({ ...start, args: nasty().start.args });
  });

  it("is not held up by a stranger that takes the address as soon as it is free", async () => {
    const { supervisor } = createSupervisor();
    const { start: options, processes } = nasty();
    const { address } = await supervisor.start(options);
    const { process: stranger } = await start(process.execPath, [
      "-e",
      `
        const { createServer } = require("node:net");
        const port = ${address.split(":")[1]};
        const listen = () => createServer().on("error", () => setImmediate(listen)).listen(port, "127.0.0.1");
        console.log("tries");
        listen();
      `,
    ]);
    await supervisor.shutdown("m");
    expect(processes()).toEqual([]);
    expect(stranger.exitCode).toBeNull();
    expect(supervisor.list()).toEqual([]);
  });

  it.skipIf(process.getuid?.() !== 0).each([
    ["may be tried again", 'await monitor.shutdown("m", { force: true });'],
    [
      "sees it where that ends by itself after all",
      'process.kill(pid, "SIGKILL"); while (supervisor.get("m")) await new Promise((resolve) => setTimeout(resolve, 10));',
    ],
  ])("names what it is not permitted to end, keeps the model listed, and %s", async (_what, then) => {
    const code = `
        const { BackendMonitor, BackendSupervisor } = await import(${JSON.stringify(dist)});
        const supervisor = new BackendSupervisor();
        const monitor = new BackendMonitor({ registry: supervisor });
        const args = [${JSON.stringify(script("backend.mjs"))}, "--kind", "setuid"];
        const { pid } = await supervisor.start({ name: "m", command: process.execPath, args });
        process.seteuid(65534);
        const failed = await monitor.shutdown("m", { force: true }).catch((error) => error.message.replace(pid, "PID"));
        console.log(failed, supervisor.list().length);
        process.seteuid(0);
        ${then}
        console.log(pid, supervisor.list().length);
        monitor.close();
      `;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", code]).toString();
    const [failed, pid] = /^(.*) 1\n(\d+) 0\n$/.exec(output)?.slice(1) ?? [output];
    expect(failed).toBe(
      'model "m" could not be stopped; the operating system does not permit to stop these processes: PID ("node")',
    );
    expect(isRunning(Number(pid))).toBe(false);
  });

  it("asks those to end, too, that come while others have their time", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("forking,meek");
    const { pid = 0 } = await supervisor.start(start);
    const stopping = supervisor.shutdown("m", { timeoutMs: FOR_EVER_MS });
    await expect.poll(() => processes().length, { interval: 1 }).toBeGreaterThan(1);
    await delay(100);
    await expect.poll(processes, { timeout: 3000 }).toEqual([pid]);
    process.kill(pid, "SIGKILL");
    await stopping;
  });

  it("is over where that which it could not stop ends by itself, so that it may be started again", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const { start, processes } = nasty("deaf");
    const first = await supervisor.start(start);
    vi.spyOn(systemReader, "table").mockRejectedValueOnce(new Error("no more files"));
    await expect(supervisor.shutdown("m", { timeoutMs: 0 })).rejects.toThrow("no more files");
    process.kill(first.pid ?? 0, "SIGKILL");
    await expect.poll(() => supervisor.list()).toEqual([]);
    const second = await supervisor.start(start);
    expect(processes()).toEqual([second.pid]);
    expect([exits, failures]).toEqual([[], []]);
  });

  it("closes the pipes, though something that can't be found holds them open", async () => {
    const { supervisor } = createSupervisor();
    const pipes = () => process.getActiveResourcesInfo().filter((resource) => resource === "PipeWrap").length;
    const before = pipes();
    await supervisor.start(nasty("escaping").start);
    const escaped = await escapedFrom(supervisor, "m");
    await expect(supervisor.shutdown("m")).rejects.toThrow(/still answers/);
    expect(isRunning(escaped)).toBe(true);
    // Those of other tests may be gone by now, too.
    expect(pipes()).toBeLessThanOrEqual(before);
    await end(escaped);
    await supervisor.shutdown("m");
  });

  it("is hurried also where one before it failed", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("deaf");
    const model = await supervisor.start(start);
    vi.spyOn(systemReader, "table").mockRejectedValueOnce(new Error("no more files"));
    await expect(supervisor.shutdown("m", { timeoutMs: 0 })).rejects.toThrow("no more files");
    expect(processes()).toEqual([model.pid]);
    expect(supervisor.list()).toEqual([model]);
    const stopping = supervisor.shutdown("m", { timeoutMs: FOR_EVER_MS });
    await delay(50);
    await supervisor.shutdown("m", { timeoutMs: 0 });
    await stopping;
    expect(processes()).toEqual([]);
  });

  it("is not made shorter by one with more patience", async () => {
    const { supervisor } = createSupervisor();
    await supervisor.start(nasty("watchful,deaf").start);
    const stopping = supervisor.shutdown("m", { timeoutMs: 400 });
    await delay(50);
    await Promise.all([supervisor.shutdown("m", { timeoutMs: FOR_EVER_MS }), stopping]);
    // Which of the two it is told of first is for the kernel to say.
    expect(supervisor.logs("m")?.split("\n").sort()).toEqual(["", "SIGCONT 18", "SIGTERM 15"]);
  });

  it("lets go of the log after ten minutes", async () => {
    const { supervisor } = createSupervisor();
    await supervisor.start(nasty("polite").start);
    await supervisor.shutdown("m");
    expect(supervisor.logs("m")).toMatch(/SIGTERM/);
    const now = performance.now();
    vi.spyOn(performance, "now").mockReturnValue(now + 600_001);
    expect(supervisor.logs("m")).toBeUndefined();
  });
});
