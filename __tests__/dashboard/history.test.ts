import { describe, expect, it, onTestFinished, vi } from "vitest";
import { History } from "../../lib/dashboard/history.js";
import type { ModelOverview } from "../../lib/index.js";
import { CountingRegistry, load, serveDashboard } from "../support/dashboard.js";
import { frozenProcess } from "../support/faults.js";
import { isLinux, kernelBytes } from "../support/processes.js";

const MINUTE = 60_000;
const NOW = 1_800_000_000_000;
const NOTHING = { at: [], memory: [], cpu: [] };

/** What an overview has of a model. */
function overviewOf(
  name: string,
  { total, rss, cpu }: { total?: bigint | null; rss?: number; cpu?: number | null } = {},
): ModelOverview {
  const cost = { processes: 1, vms: null, memory_percent: 1, cpu_seconds: 1 };
  return {
    name,
    address: "127.0.0.1:1",
    pid: null,
    loaded_since: null,
    ...(total !== undefined && { status: { state: 2, memory: { total, breakdown: {} } } }),
    process: rss === undefined ? null : { ...cost, rss, cpu_percent: cpu ?? null },
    shutdown: null,
  };
}

/** A history, and a clock that only a test moves on. */
function historyAt(now: number): History {
  vi.useFakeTimers({ toFake: ["Date"], now });
  onTestFinished(() => void vi.useRealTimers());
  return new History();
}

describe("the history of a model", () => {
  it("has what the backend says of its memory, or else what the system does", () => {
    const history = historyAt(NOW);
    history.record(NOW, [
      overviewOf("told", { total: 300n, rss: 7, cpu: 12.5 }),
      overviewOf("sampled", { total: null, rss: 7, cpu: 800 }),
      overviewOf("failed", { rss: 8, cpu: null }),
      overviewOf("unknown"),
      overviewOf("__proto__", { total: 2n ** 60n }),
    ]);
    expect(history.read("told")).toEqual({ at: [NOW], memory: [300], cpu: [12.5] });
    expect(history.read("sampled")).toEqual({ at: [NOW], memory: [7], cpu: [800] });
    expect(history.read("failed")).toEqual({ at: [NOW], memory: [8], cpu: [Number.NaN] });
    expect(history.read("unknown")).toEqual({ at: [NOW], memory: [Number.NaN], cpu: [Number.NaN] });
    expect(history.read("__proto__")).toEqual({ at: [NOW], memory: [2 ** 60], cpu: [Number.NaN] });
    expect(history.read("constructor")).toEqual(NOTHING);
  });

  it("has a point a second at most, of the last 15 minutes", () => {
    const history = historyAt(NOW);
    const atSecond = (second: number) => NOW + second * 1000;
    for (let tenth = 0; tenth < 10 * 16 * 60; tenth++) {
      const at = NOW + tenth * 100;
      vi.setSystemTime(at);
      history.record(at, [overviewOf("m", { rss: tenth, cpu: 1 })]);
    }
    const { at, memory, cpu } = history.read("m");
    const seconds = Array.from({ length: 15 * 60 }, (_, second) => 60 + second);
    expect(at).toEqual(seconds.map(atSecond));
    expect(memory).toEqual(seconds.map((second) => second * 10));
    expect(cpu).toHaveLength(at.length);

    vi.setSystemTime(atSecond(16 * 60 + 14 * 60));
    expect(history.read("m").at).toEqual(seconds.map(atSecond).slice(14 * 60 + 1));
    vi.setSystemTime(atSecond(16 * 60 + 15 * 60));
    expect(history.read("m")).toEqual(NOTHING);
    // What is older is not kept and merely not shown.
    vi.setSystemTime(NOW);
    expect(history.read("m").at).toHaveLength(15 * 60);
  });

  it("is kept until its newest point is 15 minutes old, and goes on where the model comes back", () => {
    const history = historyAt(NOW);
    history.record(NOW, [overviewOf("m", { rss: 1 }), overviewOf("other", { rss: 5 })]);
    history.record(NOW + 10 * MINUTE, [overviewOf("other", { rss: 6 })]);
    history.record(NOW + 14 * MINUTE, [overviewOf("m", { rss: 2 })]);
    vi.setSystemTime(NOW + 14 * MINUTE);
    expect(history.read("m")).toMatchObject({ at: [NOW, NOW + 14 * MINUTE], memory: [1, 2] });
    vi.setSystemTime(NOW + 28 * MINUTE);
    history.record(NOW + 28 * MINUTE, []);
    expect(history.read("m")).toMatchObject({ memory: [2] });
    expect(history.read("other")).toEqual(NOTHING);
    // Not kept and merely not shown, either.
    vi.setSystemTime(NOW);
    expect(history.read("other")).toEqual(NOTHING);
  });

  it("is kept of a thousand models, and the one that was not seen for longest makes room", () => {
    const history = historyAt(NOW);
    const models = Array.from({ length: 1_000 }, (_, number) => overviewOf(`m${number}`, { rss: 1 }));
    history.record(NOW, models);
    history.record(NOW + 1_000, models.slice(0, 1));
    history.record(NOW + 2_000, [overviewOf("new", { rss: 1 })]);
    expect(history.read("m0").at).toHaveLength(2);
    expect(history.read("m1")).toEqual(NOTHING);
    expect(history.read("m2").at).toHaveLength(1);
    expect(history.read("new").at).toHaveLength(1);
  });

  it("is not lost to models that are too many", () => {
    const history = historyAt(NOW);
    const models = Array.from({ length: 1_500 }, (_, number) => overviewOf(`m${number}`, { rss: 1 }));
    for (let second = 0; second < 5; second++) history.record(NOW + second * 1_000, models);
    const lengths = models.map(({ name }) => history.read(name).at.length);
    expect(lengths).toEqual(models.map((_, number) => (number < 1_000 ? 5 : 0)));
  });

  it("stays in order where the clock is set back", () => {
    const history = historyAt(NOW);
    for (const at of [0, 10, 20, 5, 6]) history.record(NOW + at * 1_000, [overviewOf("m", { rss: at })]);
    vi.setSystemTime(NOW + 6_000);
    expect(history.read("m")).toMatchObject({ at: [NOW, NOW + 5_000, NOW + 6_000], memory: [0, 5, 6] });
  });
});

describe("GET api/history", () => {
  it.skipIf(!isLinux)("has a point of each sample, as the kernel has it", async () => {
    const registry = new CountingRegistry();
    const pid = await frozenProcess();
    registry.models.set("m", { name: "m", address: "127.0.0.1:1", pid });
    const { send, view } = await serveDashboard({ registry });
    expect((await send("/api/history?model=m")).json).toEqual(NOTHING);
    await send("/api/backends");
    const one = (await send("/api/history?model=m")).json;
    expect(one).toEqual({
      at: [expect.any(Number)],
      memory: [kernelBytes(pid, "VmRSS")],
      cpu: [expect.any(Number)],
    });
    const viewer = await view();
    await expect.poll(async () => (await send("/api/history?model=m")).json.at.length).toBeGreaterThan(1);
    viewer.leave();
    expect((await send("/api/history?model=m")).json.memory.slice(0, 2)).toEqual([
      one.memory[0],
      one.memory[0],
    ]);
  });

  it("has null for what nobody told, and nothing of a model that is not known", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    const { send } = await serveDashboard({ registry });
    await send("/api/backends");
    expect((await send("/api/history?model=m")).text).toMatch(
      /^{"at":\[\d+\],"memory":\[300\],"cpu":\[null\]}$/,
    );
    expect((await send("/api/history?model=__proto__")).json).toEqual(NOTHING);
    expect((await send("/api/history?model=m", { method: "HEAD" })).status).toBe(200);
  });

  it.each([
    ["no model", "", /^the model is missing; send \?model=NAME$/],
    ["an empty name", "?model=", /^the model's name is empty; send \?model=NAME$/],
    ["two names", "?model=a&model=b", /"model" 2 times/],
    ["a control character", "?model=%0a", /control characters/],
    ["bytes that are no UTF-8", "?model=%ff", /^"model" in the query is not valid UTF-8/],
    ["a name that is too long", `?model=${"x".repeat(513)}`, /longer than 512/],
  ])("answers %s with 400", async (_what, query, message) => {
    const { send } = await serveDashboard({ registry: new CountingRegistry() });
    for (const path of ["/api/history", "/api/logs"]) {
      expect((await send(`${path}${query}`)).json).toEqual({
        error: { code: 400, type: "invalid_request_error", message: expect.stringMatching(message) },
      });
    }
  });
});
