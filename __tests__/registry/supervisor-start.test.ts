import { chmodSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { BackendMonitor, BackendSupervisor, StartError, type StartOptions } from "../../lib/index.js";
import { processStartTime } from "../../lib/process/index.js";
import { systemReader } from "../../lib/process/system.js";
import { end, freePort, isLinux, kernelArguments, kernelChildren } from "../support/processes.js";
import {
  clientWith,
  createSupervisor,
  escapedFrom,
  listening,
  nasty,
  temporaryFolder,
} from "../support/supervisor.js";

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
    [
      { name: "m", command: "x", env: { A: 1 } },
      /option "env" takes an object with strings, got a number for "A"/,
    ],
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
