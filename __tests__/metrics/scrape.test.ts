import { once } from "node:events";
import { Gauge } from "prom-client";
import { describe, expect, it } from "vitest";
import { InMemoryModelRegistry, type ModelRegistry } from "../../lib/index.js";
import { type BackendCalls, type Call, hasMemory, neverReplies, serveBackend } from "../support/grpc.js";
import {
  figure,
  metricsHost,
  modelsNamed,
  modelsOf,
  registryOf,
  reporting,
  samplesOf,
  valuesBy,
} from "../support/metrics.js";
import { isLinux, startScript } from "../support/processes.js";

const m = { model: "m" };
const DURATION_COUNT = "backend_monitor_duration_seconds_count";

async function registryWith(calls: BackendCalls, pid?: number): Promise<InMemoryModelRegistry> {
  const registry = new InMemoryModelRegistry();
  registry.register({ name: "m", address: (await serveBackend(calls)).address, pid });
  return registry;
}

/** Counts how often it was asked for its Status; answers once it may. */
function askedBackend(mayAnswer: Promise<unknown> = Promise.resolve()) {
  const asked = { calls: 0 };
  const Status: Call = async (call, reply) => {
    asked.calls += 1;
    await mayAnswer;
    hasMemory(call, reply);
  };
  return { asked, Status };
}

describe("a scrape", () => {
  it("asks each backend once, and nobody asks between scrapes", async () => {
    const { asked, Status } = askedBackend();
    const registry = await registryWith({ Status });
    const { monitor, scrape } = await metricsHost({ registry });
    let overviews = 0;
    const overview = monitor.overview.bind(monitor);
    monitor.overview = () => {
      overviews += 1;
      return overview();
    };
    for (let scrapes = 0; scrapes < 4; scrapes++) {
      expect([asked.calls, overviews]).toEqual([scrapes, scrapes]);
      await scrape();
    }
    expect([asked.calls, overviews]).toEqual([4, 4]);
  });

  it("shares what is asked with those at the same time, each of which gets it whole", async () => {
    const gate = new EventTarget();
    const { asked, Status } = askedBackend(once(gate, "open"));
    const registry = await registryWith({ Status });
    const { register, scrape } = await metricsHost({ registry, statusTimeoutMs: 20_000 });
    let begun = 0;
    new Gauge({ name: "own", help: "The host's own.", registers: [register], collect: () => void begun++ });
    const scrapes = [scrape(), scrape(), scrape()];
    await expect.poll(() => begun).toBe(3);
    await expect.poll(() => asked.calls).toBe(1);
    gate.dispatchEvent(new Event("open"));
    const all = await Promise.all(scrapes);
    for (const families of all) expect(figure(families, "backend_memory_bytes", m)).toBe(300);
    expect(asked.calls).toBe(1);
    await scrape();
    expect(asked.calls).toBe(2);
  });

  it("does not wait for backends that do not answer for longer than they may take", async () => {
    const registry = await registryWith({ Status: neverReplies });
    const { scrape } = await metricsHost({ registry, statusTimeoutMs: 2_000 });
    expect(figure(await scrape(), "backend_up", m)).toBe(0);
  });

  it.skipIf(!isLinux)(
    "has nothing of models that are gone, but for the count of their shutdowns",
    async () => {
      const { pid } = await startScript("stubborn.mjs");
      const registry = await registryWith({ Status: hasMemory }, pid);
      registry.register({ name: "stays", address: "127.0.0.1:1" });
      const { scrape } = await metricsHost({ registry });
      const before = await scrape();
      await expect.poll(async () => modelsOf(await scrape(), DURATION_COUNT).sort()).toEqual(["m", "stays"]);
      registry.unregister("m");
      const after = await scrape();
      expect(figure(after, "backend_models")).toBe(1);
      for (const { name, samples } of before.values()) {
        const before = new Set(samples.map(({ labels }) => labels.model));
        const left = samplesOf(after, name).filter(({ labels }) => labels.model === "m");
        if (name === "backend_shutdowns_total") expect(left).toHaveLength(4);
        else expect(left).toEqual([]);
        if (name !== "backend_models") expect(before).toContain("m");
      }
      expect(modelsOf(after, DURATION_COUNT)).toEqual(["stays"]);
      registry.unregister("stays");
      const none = await scrape();
      expect([figure(none, "backend_models"), samplesOf(none, "backend_up")]).toEqual([0, []]);
    },
  );
});

describe("where the registry fails", () => {
  it.each<[string, ModelRegistry["list"]]>([
    [
      "throws",
      () => {
        throw new Error("boom");
      },
    ],
    ["rejects", () => Promise.reject(new Error("boom"))],
    ["lists nonsense", () => "boom" as never],
    ["never answers", () => new Promise(() => {})],
  ])("as it %s, the host's own metrics are there, and these are back when it is", async (_what, list) => {
    const models = registryOf(modelsNamed(["m"]));
    const registry = { ...models };
    const told: string[] = [];
    const logger = { info: () => {}, error: (line: string) => told.push(line) };
    const createClient = reporting(() => ({ state: 2, memory: { total: 7n, breakdown: { a: 7n } } }));
    const { register, scrape, monitor } = await metricsHost({
      registry,
      createClient,
      logger,
      statusTimeoutMs: 2_000,
    });
    new Gauge({ name: "own", help: "The host's own.", registers: [register] }).set(5);
    expect(figure(await scrape(), "backend_memory_bytes", m)).toBe(7);
    await expect(monitor.shutdown("nobody")).rejects.toThrow();

    registry.list = list;
    const families = await scrape();
    expect(figure(families, "own")).toBe(5);
    const sampled = [...families.values()].filter(({ name }) => !/^own$|shutdowns|duration/.test(name));
    expect(sampled).toHaveLength(8);
    expect(sampled.flatMap(({ samples }) => samples)).toEqual([]);
    // What was counted stays counted.
    expect(figure(families, "backend_shutdowns_total", { model: "", outcome: "model_not_loaded" })).toBe(1);
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/failed to list its models.*boom|failed to list.*did not answer/s);

    registry.list = models.list;
    expect(figure(await scrape(), "backend_memory_bytes", m)).toBe(7);
  });

  it("in one model, the others are there", async () => {
    const models = modelsNamed(["m", "odd"]);
    models.set("odd", { name: "odd", address: 5 as never });
    const createClient = reporting(() => ({ state: 2, memory: { total: 7n, breakdown: { a: 7n } } }));
    const { scrape } = await metricsHost({ registry: registryOf(models), createClient });
    const families = await scrape();
    expect(figure(families, "backend_memory_bytes", m)).toBe(7);
    expect(figure(families, "backend_up", { model: "odd" })).toBe(0);
    expect(valuesBy("state", families, "backend_state", "odd")).toMatchObject({ error: 1 });
    expect(samplesOf(families, "backend_memory_bytes", "odd")).toEqual([]);
  });

  it.each([
    ["nothing", { total: 1n, breakdown: undefined }, [1], []],
    ["null", { total: 1n, breakdown: null }, [1], []],
    ["strings", { total: "1", breakdown: { a: "1" } }, [], []],
    [
      "no numbers",
      { total: Number.NaN, breakdown: { a: Number.NaN, b: null, c: {}, d: Number.POSITIVE_INFINITY, e: 5 } },
      [],
      [5],
    ],
  ])("as its client gives %s, only what is a figure is one", async (_what, memory, totals, components) => {
    const createClient = reporting(() => ({ state: 2, memory: memory as never }));
    const { scrape } = await metricsHost({ registry: registryOf(modelsNamed(["m"])), createClient });
    const families = await scrape();
    const values = (name: string) => samplesOf(families, name).map(({ value }) => value);
    expect(values("backend_memory_bytes")).toEqual(totals);
    expect(values("backend_memory_component_bytes")).toEqual(components);
  });
});
