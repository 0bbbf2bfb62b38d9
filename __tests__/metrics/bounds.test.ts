import { describe, expect, it } from "vitest";
import { BackendState } from "../../lib/index.js";
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

const COUNT = "backend_monitor_duration_seconds_count";
const COMPONENTS = "backend_memory_component_bytes";

/** There is much to read, and a machine may be busy. */
const timeout = 60_000;

const ready = reporting(() => ({
  state: BackendState.READY,
  memory: { total: 3n, breakdown: { weights: 2n, kv_cache: 1n } },
}));

/** `count` names in order. */
const namesOf = (count: number, prefix = "m") =>
  Array.from({ length: count }, (_, index) => `${prefix}${String(index).padStart(5, "0")}`);

describe("with more models than are shown", { timeout }, () => {
  it("it is the first thousand by name, in whatever order they are listed", async () => {
    const names = namesOf(1_200);
    const first = names.slice(0, 1_000);
    for (const listed of [
      names.toReversed(),
      names.toSorted((a, b) => (a.slice(-1) < b.slice(-1) ? -1 : 1)),
    ]) {
      const { scrape, scrapeText } = await metricsHost({
        registry: registryOf(modelsNamed(listed)),
        createClient: ready,
      });
      await scrapeText();
      const families = await scrape();
      expect(figure(families, "backend_models")).toBe(1_200);
      for (const name of ["backend_up", "backend_state", "backend_memory_bytes", COMPONENTS, COUNT]) {
        expect(modelsOf(families, name).sort()).toEqual(first);
      }
      expect(modelsOf(families, "backend_shutdowns_total").sort()).toEqual(["", ...first]);
    }
  });

  it("those are shown next that others make room for", async () => {
    const models = modelsNamed(namesOf(1_200));
    const { scrape, scrapeText } = await metricsHost({ registry: registryOf(models), createClient: ready });
    await scrapeText();
    for (const name of namesOf(100)) models.delete(name);
    await scrapeText();
    const families = await scrape();
    expect(figure(families, "backend_models")).toBe(1_100);
    const shown = namesOf(1_100).slice(100);
    expect(modelsOf(families, "backend_up").sort()).toEqual(shown);
    expect(modelsOf(families, COUNT).sort()).toEqual(shown);
  });
});

describe("the series of models that come and go", { timeout }, () => {
  it("are a thousand of those that took time, also where nobody scrapes", async () => {
    const models = modelsNamed(namesOf(1_500));
    const { monitor, scrape } = await metricsHost({
      registry: registryOf(models),
      createClient: ready,
    });
    for (const name of [...models.keys()].reverse()) {
      await monitor.status(name);
      models.delete(name);
    }
    monitor.overview = () => Promise.reject(new Error("nobody tells which are gone"));
    expect(modelsOf(await scrape(), COUNT).sort()).toEqual(namesOf(1_000));
  });

  it("are those of the last shutdowns, and of those that are loaded", async () => {
    const models = modelsNamed(["loaded"]);
    const registry = { ...registryOf(models), shutdown: (name: string) => void models.delete(name) };
    const { monitor, scrape, scrapeText } = await metricsHost({ registry, createClient: ready });
    const names = namesOf(2_500);
    for (const [index, name] of names.entries()) {
      const often = index % 500 === 0 ? ["often"] : [];
      for (const each of [name, ...often]) {
        models.set(each, { name: each, address: "127.0.0.1:1" });
        await monitor.shutdown(each, { force: true });
      }
      if (often.length > 0) await scrapeText();
    }
    const families = await scrape();
    const shown = modelsOf(families, "backend_shutdowns_total").sort();
    expect(shown).toEqual(["", "loaded", ...names.slice(-1_997), "often"]);
    const stopped = samplesOf(families, "backend_shutdowns_total").filter(
      ({ labels }) => labels.outcome === "stopped",
    );
    expect(Object.fromEntries(stopped.map(({ labels, value }) => [labels.model, value]))).toEqual({
      ...Object.fromEntries(names.slice(-1_997).map((name) => [name, 1])),
      loaded: 0,
      often: 5,
    });
  });

  it("are none of names that nobody has loaded, however many a client sends", async () => {
    const { monitor, scrape } = await metricsHost({
      registry: registryOf(modelsNamed([])),
      createClient: ready,
    });
    const names = namesOf(3_000, "nobody");
    await Promise.all(names.map((name) => monitor.shutdown(name, { force: true }).catch(() => {})));
    const families = await scrape();
    expect(samplesOf(families, "backend_shutdowns_total")).toEqual([
      { name: "backend_shutdowns_total", labels: { model: "", outcome: "model_not_loaded" }, value: 3_000 },
    ]);
    expect(samplesOf(families, COUNT)).toEqual([]);
  });
});

describe("the components of a model", () => {
  async function componentsOf(breakdown: Record<string, bigint>) {
    const createClient = reporting(() => ({ state: 2, memory: { total: 1n, breakdown } }));
    const { scrape } = await metricsHost({ registry: registryOf(modelsNamed(["m"])), createClient });
    return valuesBy("component", await scrape(), COMPONENTS, "m");
  }
  const some = (count: number) =>
    Object.fromEntries(namesOf(count, "c").map((name, index) => [name, BigInt(index)]));

  it("are all there where there are sixteen", async () => {
    expect(await componentsOf(some(16))).toEqual(
      Object.fromEntries(Object.entries(some(16)).map(([name, bytes]) => [name, Number(bytes)])),
    );
  });

  it("are the fifteen largest of 5,000, and the rest as one", async () => {
    const components = await componentsOf(some(5_000));
    const largest = namesOf(5_000, "c").slice(-15);
    expect(Object.keys(components).sort()).toEqual([...largest, "other"]);
    expect(Object.values(components).reduce((sum, bytes) => sum + bytes)).toBe((5_000 * 4_999) / 2);
    expect(components.c04999).toBe(4_999);
  });

  it("are the first by name where they are of one size", async () => {
    const same = Object.fromEntries(
      namesOf(20, "c")
        .reverse()
        .map((name) => [name, 1n]),
    );
    const components = await componentsOf(same);
    expect(Object.keys(components).sort()).toEqual([...namesOf(15, "c"), "other"]);
    expect(components.other).toBe(5);
  });

  it("may have one called other, to which the rest is added", async () => {
    expect((await componentsOf({ ...some(20), other: 1_000n })).other).toBe(1_000 + 0 + 1 + 2 + 3 + 4 + 5);
    expect((await componentsOf({ ...some(20), other: 1n })).other).toBe(1 + 0 + 1 + 2 + 3 + 4);
  });

  it("have names that are cut, and are summed where they are the same then", async () => {
    const components = await componentsOf({
      ["x".repeat(1e6)]: 1n,
      ["x".repeat(65)]: 2n,
      ["🦙".repeat(65)]: 4n,
    });
    expect(components).toEqual({ ["x".repeat(64)]: 3, ["🦙".repeat(64)]: 4 });
  });
});

it("the name of a model is cut to what requests can have", async () => {
  const whole = "🦙".repeat(512);
  const registry = registryOf(modelsNamed([whole, "x".repeat(1e6)]));
  const { scrape } = await metricsHost({ registry, createClient: ready });
  expect(modelsOf(await scrape(), "backend_up").sort()).toEqual(["x".repeat(512), whole]);
});
