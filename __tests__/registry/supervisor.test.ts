import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { BackendMonitor, BackendSupervisor, StartError, type StartOptions } from "../../lib/index.js";
import { processStartTime } from "../../lib/process/index.js";
import { systemReader } from "../../lib/process/system.js";
import {
  end,
  freePort,
  isLinux,
  isRunning,
  kernelArguments,
  kernelChildren,
  script,
  start,
} from "../support/processes.js";
import {
  clientWith,
  createSupervisor,
  escapedFrom,
  listening,
  nasty,
  temporaryFolder,
  warningsOfProcess,
} from "../support/supervisor.js";

/** Longer than any test: what is stopped within it was not killed. */
const FOR_EVER_MS = 3_600_000;

/** How a start fails that has little time. Where a busy machine did not let it listen within that, it has more. */
async function notReady(
  supervisor: BackendSupervisor,
  start: StartOptions,
  readyTimeoutMs = 500,
): Promise<Error> {
  const error = await supervisor.start({ ...start, readyTimeoutMs }).catch((reason) => reason);
  const isLate = error.message.includes("nothing listens");
  return isLate ? notReady(supervisor, start, 4 * readyTimeoutMs) : error;
}

const dist = new URL("../../dist/index.js", import.meta.url).href;

afterEach(() => void vi.restoreAllMocks());

describe.skipIf(!isLinux)("start", () => {
  it("resolves with a model that is listed, healthy, and a process of its own", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty();
    const model = await supervisor.start(start);
    expect(processes()).toEqual([model.pid]);
    expect(model).toEqual({
      name: "m",
      address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      pid: expect.any(Number),
      startTime: await processStartTime(model.pid ?? 0),
    });
    expect(supervisor.get("m")).toBe(model);
    expect(supervisor.list()).toEqual([model]);
    expect(supervisor.get("other")).toBeUndefined();
    // Its Status is not implemented, and its Health replies OK.
    const monitor = new BackendMonitor({ registry: supervisor });
    onTestFinished(() => monitor.close());
    expect(await monitor.status("m")).toMatchObject({ state: 2, status_error: { code: "UNIMPLEMENTED" } });
  });

  it("appends --addr and a free port of this machine alone", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty();
    const { address, pid = 0 } = await supervisor.start(start);
    expect(kernelArguments(pid)).toEqual([process.execPath, ...(start.args ?? []), "--addr", address]);
  });

  it("puts the address where the arguments have {address}", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty();
    const args = [...(start.args ?? []), "--addr={address}", "listens at {address} ({address})"];
    const { address, pid = 0 } = await supervisor.start({ ...start, args });
    expect(kernelArguments(pid).slice(-2)).toEqual([
      `--addr=${address}`,
      `listens at ${address} (${address})`,
    ]);
  });

  it("takes the address that it is given", async () => {
    const { supervisor } = createSupervisor();
    const address = `127.0.0.1:${await freePort()}`;
    const { start } = nasty("", { address });
    const { pid = 0, ...model } = await supervisor.start(start);
    expect(model.address).toBe(address);
    expect(kernelArguments(pid).at(-1)).toBe(address);
  });

  it("gives each of many that start at the same time an address of its own", async () => {
    const { supervisor } = createSupervisor();
    const starts = Array.from({ length: 8 }, (_, index) => nasty("", { name: `m${index}` }).start);
    const models = await Promise.all(starts.map((options) => supervisor.start(options)));
    expect(new Set(models.map(({ address }) => address)).size).toBe(8);
    expect(new Set(models.map(({ pid }) => pid)).size).toBe(8);
  });

  it("starts nothing where something listens at the address already", async () => {
    const { supervisor } = createSupervisor();
    const port = await freePort();
    await listening(port);
    const { start, processes } = nasty("", { address: `127.0.0.1:${port}` });
    await expect(supervisor.start(start)).rejects.toThrow(
      `the start of model "m" failed: something listens at "127.0.0.1:${port}" already`,
    );
    expect(processes()).toEqual([]);
    expect(supervisor.logs("m")).toBe("");
  });

  it("uses no shell", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty();
    const args = [...(start.args ?? []), "$HOME; exit 1", "`id`", "a b"];
    const { pid = 0 } = await supervisor.start({ ...start, args });
    expect(kernelArguments(pid).slice(4, 7)).toEqual(["$HOME; exit 1", "`id`", "a b"]);
  });

  it("adds to the environment, takes from it, and starts in the folder that it is given", async () => {
    const { supervisor } = createSupervisor();
    const folder = temporaryFolder();
    process.env.TAKEN_AWAY = "1";
    process.env.LEFT_ALONE = "1";
    onTestFinished(() => {
      delete process.env.TAKEN_AWAY;
      delete process.env.LEFT_ALONE;
    });
    const print = 'echo "$PWD $ADDED $LEFT_ALONE ($TAKEN_AWAY)"; exit 1';
    const env = { ADDED: "new", TAKEN_AWAY: undefined };
    const started = supervisor.start({ name: "m", command: "sh", args: ["-c", print], env, cwd: folder });
    await expect(started).rejects.toThrow(StartError);
    expect(supervisor.logs("m")).toBe(`${folder} new 1 ()\n`);
  });

  it("fails where the process ends before it is ready, with its code and what it said last", async () => {
    const { supervisor, exits } = createSupervisor();
    const { start, processes } = nasty("failing,daemon,session,meek");
    const error = await supervisor.start(start).catch((reason) => reason);
    expect(error).toBeInstanceOf(StartError);
    expect(error).toMatchObject({ code: 7, signal: null });
    const lines = error.stderr.split("\n");
    expect(lines).toHaveLength(20);
    expect(lines.at(-1)).toBe("line 30 of what went wrong");
    expect(error.message).toBe(
      `the start of model "m" failed: its process exited with code 7; it wrote last to stderr:\n${error.stderr}`,
    );
    expect(processes()).toEqual([]);
    expect(supervisor.list()).toEqual([]);
    expect(supervisor.logs("m")).toMatch(/^this goes to stdout\nline 1 of what went wrong\n/);
    expect(exits).toEqual([]);
  });

  it("fails where the process is ended by a signal before it is ready", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("never,daemon,meek");
    const started = supervisor.start(start);
    await expect.poll(processes).not.toEqual([]);
    const [pid = 0] = kernelChildren(process.pid).filter((child) => processes().includes(child));
    process.kill(pid, "SIGKILL");
    await expect(started).rejects.toMatchObject({ code: null, signal: "SIGKILL" });
    await expect(started).rejects.toThrow("its process was ended by SIGKILL");
    expect(processes()).toEqual([]);
  });

  it("fails where it is not ready in time, says what its Health said, and stops everything", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("never,session,daemon,meek");
    const error = await notReady(supervisor, start);
    expect(error).toMatchObject({ code: null, signal: null });
    expect(error.message).toMatch(
      /it was not ready within \d+ ms: its Health call fails \(UNIMPLEMENTED: no such method\)/,
    );
    expect(processes()).toEqual([]);
    expect(supervisor.list()).toEqual([]);
  });

  it("says so where nothing ever listens", async () => {
    const { supervisor } = createSupervisor();
    const start = { name: "m", command: "sh", args: ["-c", "exec sleep 60"], readyTimeoutMs: 0 };
    await expect(supervisor.start(start)).rejects.toThrow(
      /it was not ready within 0 ms: nothing listens at "127\.0\.0\.1:\d+"/,
    );
  });

  it.each([
    [
      "a command that is not there",
      { command: "./no-such-command" },
      /"\.\/no-such-command" can't be started \(ENOENT\); is it installed\?/,
    ],
    [
      "a folder that is not there",
      { command: "sh", cwd: "no-such-folder" },
      /"sh" can't be started \(ENOENT\); is it installed, and is there a folder "no-such-folder"\?/,
    ],
    ["arguments that no program can have", { args: ["a\0b"] }, /must be a string without null bytes/],
  ])("fails for %s, and may be tried again", async (_what, wrong: Partial<StartOptions>, message) => {
    const { supervisor } = createSupervisor();
    const { start } = nasty();
    const failing = supervisor.start({ ...start, ...wrong });
    await expect(failing).rejects.toThrow(StartError);
    await expect(failing).rejects.toThrow(message);
    expect(supervisor.list()).toEqual([]);
    await supervisor.start(start);
  });

  it("fails for a file that can't be run", async () => {
    const { supervisor } = createSupervisor();
    const file = join(temporaryFolder(), "text");
    writeFileSync(file, "this is no program");
    chmodSync(file, 0o644);
    await expect(supervisor.start({ name: "m", command: file })).rejects.toThrow(
      /can't be started \(EACCES\); is it a program that this user may run\?/,
    );
  });

  it("starts one process for two who start it at the same time", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty();
    const [one, other] = await Promise.all([supervisor.start(start), supervisor.start({ ...start })]);
    expect(other).toBe(one);
    expect(processes()).toEqual([one.pid]);
  });

  it("tells both that it failed", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("failing");
    const outcomes = await Promise.allSettled([supervisor.start(start), supervisor.start(start)]);
    expect(outcomes).toMatchObject([{ reason: { code: 7 } }, { reason: { code: 7 } }]);
    expect(processes()).toEqual([]);
  });

  it("gives the one that runs to whoever starts the same, and refuses another command", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty();
    const model = await supervisor.start(start);
    expect(await supervisor.start({ ...start, address: model.address, readyTimeoutMs: 5 })).toBe(model);
    for (const other of [
      { command: "sh" },
      { args: [] },
      { env: { A: "1" } },
      { cwd: tmpdir() },
      { address: "127.0.0.1:1" },
    ]) {
      await expect(supervisor.start({ ...start, ...other })).rejects.toThrow(
        'model "m" runs with another command; shut it down first',
      );
    }
    expect(processes()).toEqual([model.pid]);
  });

  it("is cancelled by a shutdown, and rejects when all of it is stopped", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("never,session,daemon,deaf");
    const started = supervisor.start(start);
    const rejected = started.catch(() => processes());
    await expect.poll(() => processes().length).toBeGreaterThan(4);
    await supervisor.shutdown("m", { timeoutMs: 100 });
    expect(processes()).toEqual([]);
    await expect(started).rejects.toThrow('the start of model "m" was cancelled by a shutdown');
    expect(await rejected).toEqual([]);
    expect(supervisor.list()).toEqual([]);
  });

  it("starts no process at all where the shutdown comes before", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty();
    const started = supervisor.start(start);
    await Promise.all([
      expect(started).rejects.toThrow("was cancelled by a shutdown"),
      supervisor.shutdown("m"),
    ]);
    expect(processes()).toEqual([]);
    await supervisor.start(start);
  });

  it("is cancelled by its signal", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("never,session,meek");
    const cancel = new AbortController();
    const started = supervisor.start({ ...start, signal: cancel.signal });
    await expect.poll(processes).not.toEqual([]);
    cancel.abort(new Error("changed my mind"));
    await expect(started).rejects.toThrow("changed my mind");
    expect(processes()).toEqual([]);
    await expect(supervisor.start({ ...start, signal: cancel.signal })).rejects.toThrow("changed my mind");
    expect(processes()).toEqual([]);
  });

  it("goes on for one who still waits where another one's signal is aborted, and is theirs to cancel", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("never");
    const [one, other] = [new AbortController(), new AbortController()];
    const first = supervisor.start({ ...start, signal: one.signal });
    const second = supervisor.start({ ...start, signal: other.signal });
    await expect.poll(processes).toHaveLength(1);
    one.abort();
    await expect(first).rejects.toThrow("aborted");
    expect(processes()).toHaveLength(1);
    other.abort();
    await expect(second).rejects.toThrow("aborted");
    expect(processes()).toEqual([]);
  });

  it.each([
    ["one signal", () => Array(3).fill(new AbortController())],
    ["signals that are aborted at once", () => Array.from({ length: 3 }, () => new AbortController())],
  ])("is cancelled where all who wait have %s", async (_what, controllers) => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("slow");
    const cancels: AbortController[] = controllers();
    const starts = cancels.map(({ signal }) => supervisor.start({ ...start, signal }));
    await expect.poll(processes).toHaveLength(1);
    for (const cancel of cancels) cancel.abort(new Error("changed my mind"));
    const outcomes = await Promise.allSettled(starts);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(processes()).toEqual([]);
    expect(supervisor.list()).toEqual([]);
  });

  it("is not undone by a signal that comes when it is ready", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty();
    const cancel = new AbortController();
    const model = await supervisor.start({ ...start, signal: cancel.signal });
    cancel.abort();
    await delay(50);
    expect(supervisor.list()).toEqual([model]);
    expect(processes()).toEqual([model.pid]);
  });

  it("waits for one that is being stopped", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("slow");
    const first = await supervisor.start(start);
    const stopping = supervisor.shutdown("m");
    const second = await supervisor.start(start);
    await stopping;
    expect(second.pid).not.toBe(first.pid);
    expect(processes()).toEqual([second.pid]);
    expect(supervisor.list()).toEqual([second]);
  });

  it.each(["shutdown", "shutdownAll"] as const)(
    "is cancelled by a %s that comes while it waits for another one to end",
    async (how) => {
      const { supervisor } = createSupervisor();
      const { start, processes } = nasty("slow");
      await supervisor.start(start);
      const stopping = supervisor.shutdown("m");
      const { signal } = new AbortController();
      const waiting = [supervisor.start(start), supervisor.start({ ...start, signal })];
      const rejected = Promise.all(
        waiting.map((started) =>
          expect(started).rejects.toThrow('the start of model "m" was cancelled by a shutdown'),
        ),
      );
      await (how === "shutdown" ? supervisor.shutdown("m") : supervisor.shutdownAll());
      await Promise.all([stopping, rejected]);
      expect(processes()).toEqual([]);
      expect(supervisor.list()).toEqual([]);
    },
  );

  it("gives no two models one address", async () => {
    const { supervisor } = createSupervisor();
    const address = `127.0.0.1:${await freePort()}`;
    const [one, other] = [nasty("", { name: "one", address }), nasty("", { name: "other", address })];
    const outcomes = await Promise.allSettled([supervisor.start(one.start), supervisor.start(other.start)]);
    expect(outcomes).toMatchObject([
      { status: "fulfilled" },
      { reason: { message: `model "other" can't be started: "${address}" is the address of model "one"` } },
    ]);
    expect(other.processes()).toEqual([]);
    await supervisor.shutdown("one");
    await supervisor.start(other.start);
  });

  it("may share its signal with many others", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty("never");
    const warnings = warningsOfProcess();
    const cancel = new AbortController();
    const starts = Array.from({ length: 12 }, () => supervisor.start({ ...start, signal: cancel.signal }));
    await delay(50);
    cancel.abort();
    await Promise.allSettled(starts);
    expect(warnings).toEqual([]);
  });

  it("works with a client of the host's own, and closes it", async () => {
    let closed = 0;
    const close = () => void closed++;
    const supervisor = new BackendSupervisor({ createClient: clientWith({ close }) });
    onTestFinished(() => supervisor.shutdownAll());
    const { start } = nasty();
    await supervisor.start(start);
    expect(closed).toBe(1);
  });

  it("fails where that client can't be made", async () => {
    const createClient = () => {
      throw new Error("no client today");
    };
    const { start, processes } = nasty("", { readyTimeoutMs: 5000 });
    await expect(new BackendSupervisor({ createClient }).start(start)).rejects.toThrow("no client today");
    expect(processes()).toEqual([]);
  });

  it.each([
    [undefined, /start takes an object of options, got undefined/],
    [
      { command: "x" },
      /option "name" takes a name of 1 to 512 characters without control characters, got undefined/,
    ],
    [{ name: "m" }, /option "command" takes a string that is not empty/],
    [{ name: "m", command: "x", args: "y" }, /option "args" takes an array of strings, got the string "y"/],
    [{ name: "m", command: "x", args: [1] }, /option "args" takes an array of strings, got an array/],
    [{ name: "m", command: "x", env: { A: 1 } }, /option "env" takes an object with strings, got an object/],
    [{ name: "m", command: "x", cwd: "" }, /option "cwd"/],
    [{ name: "m", command: "x", address: 5 }, /option "address" .* got the number 5/],
    [
      { name: "m", command: "x", readyTimeoutMs: -1 },
      /option "readyTimeoutMs" takes a whole number of milli/,
    ],
    [{ name: "m", command: "x", signal: true }, /option "signal" takes an AbortSignal, got the boolean true/],
    [{ name: "m", command: "x", restart: true }, /option "restart" takes an object/],
    [
      { name: "m", command: "x", restart: { retries: 1 } },
      /no option "retries"; its options are maxRetries, minDelayMs/,
    ],
    [
      { name: "m", command: "x", restart: { maxRetries: 1.5 } },
      /option "maxRetries" takes a whole number from 0/,
    ],
    [{ name: "m", command: "x", Args: [] }, /no option "Args"; its options are name, command, args/],
  ])("refuses %j", async (options, message) => {
    const started = new BackendSupervisor().start(options as StartOptions);
    await expect(started).rejects.toThrow(TypeError);
    await expect(started).rejects.toThrow(message);
    expect(() => new BackendSupervisor({ logger: console } as object)).toThrow(/no option "logger"/);
  });

  it("does not wait for one that is being stopped any longer where its signal is aborted", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty("deaf");
    await supervisor.start(start);
    const stopping = supervisor.shutdown("m", { timeoutMs: 2000 });
    const cancel = new AbortController();
    const waiting = supervisor.start({ ...start, signal: cancel.signal });
    setTimeout(() => cancel.abort(new Error("changed my mind")), 20);
    await expect(waiting).rejects.toThrow(/^changed my mind$/);
    expect(processes()).toHaveLength(1);
    await supervisor.shutdown("m", { timeoutMs: 0 });
    await stopping;
  });

  it("waits for a Health that replies OK, and says so where it never does", async () => {
    let asked = 0;
    const patient = new BackendSupervisor({ createClient: clientWith({ health: async () => ++asked > 3 }) });
    onTestFinished(() => patient.shutdownAll());
    await patient.start(nasty().start);
    expect(asked).toBe(4);
    const { start, processes } = nasty();
    const createClient = clientWith({ health: async () => false });
    const { message } = await notReady(new BackendSupervisor({ createClient }), start);
    expect(message).toMatch(/it was not ready within \d+ ms: its Health does not reply OK/);
    expect(processes()).toEqual([]);
  });

  it("asks for Health only once something listens", async () => {
    let asked = 0;
    const createClient = clientWith({ health: async () => ++asked > 0 });
    const supervisor = new BackendSupervisor({ createClient });
    const started = supervisor.start({
      name: "m",
      command: "sh",
      args: ["-c", "exec sleep 60"],
      readyTimeoutMs: 200,
    });
    await expect(started).rejects.toThrow(/not ready within 200 ms: nothing listens/);
    expect(asked).toBe(0);
  });

  it("names what is left where it fails, and lets nothing be started before that is stopped", async () => {
    const { supervisor, failures } = createSupervisor();
    const address = `127.0.0.1:${await freePort()}`;
    const { start, processes } = nasty("escaping,never", { address });
    const started = supervisor.start(start);
    started.catch(() => {});
    const escaped = await escapedFrom(supervisor, "m");
    for (const pid of processes()) process.kill(pid, "SIGKILL");
    await expect(started).rejects.toThrow(
      /its process was ended by SIGKILL; every process of model "m" that can be found is gone, but .* still answers/,
    );
    expect(processes()).toEqual([]);
    await expect(supervisor.start(start)).rejects.toThrow(
      /can't be started before all of its last run is stopped/,
    );
    await end(escaped);
    await supervisor.shutdown("m");
    await supervisor.start({ ...start, args: nasty().start.args });
    expect(failures).toEqual([]);
  });

  it("names what is left where it is cancelled", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty("escaping,never");
    const started = supervisor.start(start);
    started.catch(() => {});
    const escaped = await escapedFrom(supervisor, "m");
    await expect(supervisor.shutdown("m")).rejects.toThrow(/^every process of model "m"/);
    await expect(started).rejects.toThrow(
      /^the start of model "m" was cancelled, but every process of model "m" .* still answers/,
    );
    await end(escaped);
    await supervisor.shutdown("m");
  });

  it("fails where the process table can't be read, with nothing left that it can end, and may be tried again", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty();
    const find = vi.spyOn(systemReader, "find").mockRejectedValue(new Error("no more files"));
    await expect(supervisor.start(start)).rejects.toThrow(
      'the start of model "m" failed: the process table can\'t be read (no more files)',
    );
    await expect.poll(processes).toEqual([]);
    await expect(supervisor.shutdown("m")).rejects.toThrow();
    find.mockRestore();
    await supervisor.shutdown("m");
    await supervisor.start(start);
  });

  it("is cancelled by a shutdown that comes when its Health has replied OK already", async () => {
    const { supervisor } = createSupervisor();
    const { start, processes } = nasty();
    const { table } = systemReader;
    let stopping: Promise<unknown> | undefined;
    vi.spyOn(systemReader, "table").mockImplementationOnce((withIds) => {
      stopping = supervisor.shutdown("m");
      return table(withIds);
    });
    await expect(supervisor.start(start)).rejects.toThrow(
      'the start of model "m" was cancelled by a shutdown',
    );
    await stopping;
    expect(processes()).toEqual([]);
    expect(supervisor.list()).toEqual([]);
  });

  it("tells the cause of its failure", async () => {
    const { supervisor } = createSupervisor();
    const error = await supervisor
      .start({ name: "m", command: "./no-such-command" })
      .catch((reason) => reason);
    expect(error.cause).toMatchObject({ code: "ENOENT", syscall: "spawn ./no-such-command" });
  });

  it("is not changed by what becomes of its options", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty();
    const [args, env] = [[...(start.args ?? [])], { ...start.env }];
    const model = await supervisor.start({ ...start, args, env });
    args.push("another");
    env.ANOTHER = "1";
    expect(await supervisor.start(start)).toBe(model);
  });
});

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

describe.skipIf(!isLinux)("logs", () => {
  it("are the last 256 KiB, of a backend that is never held up by them", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty("flood");
    const { pid = 0 } = await supervisor.start(start);
    const written = () => Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"))?.[1]);
    await expect.poll(written, { timeout: 15_000 }).toBeGreaterThan(64 * 1024 ** 2);
    expect(Buffer.byteLength(supervisor.logs("m") ?? "")).toBe(256 * 1024);
    expect(supervisor.logs("m")).toMatch(/^[x\n]+$/);
  });

  it("are of stdout and stderr, over restarts, and kept when the model is gone", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty("crash,polite");
    const { pid = 0 } = await supervisor.start(start);
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGUSR2");
    await exited;
    await supervisor.start(start);
    await supervisor.shutdown("m");
    expect(supervisor.logs("m")?.replaceAll(/\d+/g, "T")).toBe(
      "something went wrong\nends at T\nSIGTERM at T\nends at T\n",
    );
    expect(supervisor.logs("other")).toBeUndefined();
  });
});

describe.skipIf(!isLinux)("shutdownAll", () => {
  it("stops every model, starting or waiting for a restart, and lets none be started meanwhile", async () => {
    const { supervisor } = createSupervisor();
    const restart = { maxRetries: 3, minDelayMs: 60_000 };
    const ready = nasty("session", { name: "ready" });
    const starting = nasty("never,daemon", { name: "starting" });
    const waiting = nasty("", { name: "waiting", restart });
    await supervisor.start(ready.start);
    const { pid = 0 } = await supervisor.start(waiting.start);
    const exited = once(supervisor, "exit");
    process.kill(pid, "SIGKILL");
    await exited;
    const started = supervisor.start(starting.start).catch((error) => error);
    await expect.poll(starting.processes).not.toEqual([]);

    const stopping = supervisor.shutdownAll({ timeoutMs: 200 });
    await expect(supervisor.start(ready.start)).rejects.toThrow(
      'model "ready" can\'t be started while everything is being shut down',
    );
    await stopping;
    expect(await started).toBeInstanceOf(StartError);
    for (const { processes } of [ready, starting, waiting]) expect(processes()).toEqual([]);
    expect(supervisor.list()).toEqual([]);
    await supervisor.start(ready.start);
  });

  it("stops the others where one can't be stopped, and says which", async () => {
    const { supervisor } = createSupervisor();
    const [one, other] = [nasty("escaping", { name: "one" }), nasty("", { name: "other" })];
    await supervisor.start(one.start);
    await supervisor.start(other.start);
    const escaped = await escapedFrom(supervisor, "one");
    const stopping = supervisor.shutdownAll();
    await expect(stopping).rejects.toThrow(AggregateError);
    await expect(stopping).rejects.toThrow(
      /^1 of 2 models could not be stopped: every process of model "one"/,
    );
    expect(other.processes()).toEqual([]);
    expect(supervisor.list()).toMatchObject([{ name: "one" }]);
    await end(escaped);
    await supervisor.shutdownAll();
  });

  it("is what disposing of it does", async () => {
    const { start, processes } = nasty("daemon,meek");
    {
      await using supervisor = new BackendSupervisor();
      await supervisor.start(start);
      expect(processes()).not.toEqual([]);
    }
    expect(processes()).toEqual([]);
  });

  it("stops all at the same time", async () => {
    const { supervisor } = createSupervisor();
    const models = ["one", "other"].map((name) => nasty("watchful,deaf", { name }));
    for (const { start } of models) await supervisor.start(start);
    const stopping = supervisor.shutdownAll({ timeoutMs: FOR_EVER_MS });
    await expect.poll(() => supervisor.logs("one")).toContain("SIGTERM");
    await expect.poll(() => supervisor.logs("other")).toContain("SIGTERM");
    await supervisor.shutdownAll({ timeoutMs: 0 });
    await stopping;
  });
});
