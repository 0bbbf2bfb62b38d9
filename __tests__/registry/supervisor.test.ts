import { once } from "node:events";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { BackendSupervisor, StartError } from "../../lib/index.js";
import { end, isLinux } from "../support/processes.js";
import { createSupervisor, escapedFrom, nasty } from "../support/supervisor.js";

/** Longer than any test: what is stopped within it was not killed. */
const FOR_EVER_MS = 3_600_000;

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
