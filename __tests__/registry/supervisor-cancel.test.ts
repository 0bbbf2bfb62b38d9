import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import { systemReader } from "../../lib/process/system.js";
import { end, isLinux } from "../support/processes.js";
import { createSupervisor, escapedFrom, nasty, warningsOfProcess } from "../support/supervisor.js";

afterEach(() => void vi.restoreAllMocks());

describe.skipIf(!isLinux)("the start of a backend", () => {
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
});
