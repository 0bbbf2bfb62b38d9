import { Counter, Registry } from "prom-client";
import { describe, expect, it, onTestFinished } from "vitest";
import { BackendMonitor } from "../../lib/index.js";
import { registerBackendMetrics } from "../../lib/metrics/index.js";
import {
  busyHost,
  figure,
  metricsHost,
  modelsNamed,
  modelsOf,
  registryOf,
  reporting,
  samplesOf,
  valuesBy,
} from "../support/metrics.js";
import { isLinux } from "../support/processes.js";
import { type Family, parseMetrics, parseOpenMetrics } from "../support/prometheus.js";
import { byPromtool, hasPromtool, lintComplaints, promtoolComplaints } from "../support/promtool.js";

/** As Prometheus has it: the unit last, and the total of a counter. */
const TYPES = {
  backend_models: "gauge",
  backend_up: "gauge",
  backend_state: "gauge",
  backend_memory_bytes: "gauge",
  backend_memory_component_bytes: "gauge",
  backend_resident_memory_bytes: "gauge",
  backend_virtual_memory_bytes: "gauge",
  backend_cpu_seconds_total: "counter",
  backend_shutdowns_total: "counter",
  backend_monitor_duration_seconds: "histogram",
};

const typesOf = (families: ReadonlyMap<string, Family>) =>
  Object.fromEntries([...families.values()].map(({ name, type }) => [name, type]));

describe("the text that is scraped", () => {
  it.skipIf(!isLinux)("has these metrics, and keeps the rules of Prometheus for their names", async () => {
    const { scrape } = await busyHost();
    const families = await scrape();
    expect(typesOf(families)).toEqual(TYPES);
    for (const { name, samples } of families.values())
      expect([name, samples.length > 0]).toEqual([name, true]);
    expect(lintComplaints(families)).toEqual([]);
  });

  it.skipIf(!hasPromtool)(`has no fault that promtool finds${byPromtool}`, async () => {
    const { scrapeText } = await busyHost();
    expect(promtoolComplaints(await scrapeText())).toBe("");
    // It would find one.
    expect(promtoolComplaints("# TYPE a_total gauge\na_total 1\n")).toContain("a_total");
    expect(promtoolComplaints('a{b="\n"} 1\n')).not.toBe("");
  });

  it("tells the same as OpenMetrics", async () => {
    const { register, scrapeText, scrape } = await busyHost();
    const before = await scrape();
    const open = register as Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE | typeof register.contentType>;
    open.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    const families = parseOpenMetrics(await scrapeText());
    expect(typesOf(families)).toEqual(
      Object.fromEntries(Object.entries(TYPES).map(([name, type]) => [name.replace("_total", ""), type])),
    );
    const series = (all: ReadonlyMap<string, Family>) =>
      [...all.values()].flatMap(({ samples }) =>
        samples.map(({ name, labels }) => JSON.stringify([name, labels])),
      );
    expect(series(families).sort()).toEqual(series(before).sort());
  });
});

/** Whatever a label can have in it that the format, a script or a terminal would mind. */
const NASTY = [
  "__proto__",
  "constructor",
  "",
  " ",
  'quo"ted',
  "back\\slash",
  "\\",
  "\\n",
  "new\nline",
  "\n",
  "carriage\rreturn",
  'a="b",c="d"} 1',
  "# HELP backend_up x",
  "<script>alert(1)</script>",
  "\0\x1b[2J\x7f",
  "\u2028\u202e",
  "🦙 ламa 模型",
  "a,model:b",
];

describe("names that are nasty", () => {
  it("of models come out as they are", async () => {
    const registry = registryOf(modelsNamed(NASTY));
    const { scrape } = await metricsHost({ registry, createClient: reporting(() => ({ state: 2 })) });
    await scrape();
    const families = await scrape();
    expect(figure(families, "backend_models")).toBe(NASTY.length);
    expect(modelsOf(families, "backend_up").sort()).toEqual([...NASTY].sort());
    expect(modelsOf(families, "backend_shutdowns_total").sort()).toEqual([...NASTY].sort());
    for (const model of NASTY) {
      expect(figure(families, "backend_up", { model })).toBe(1);
      expect(figure(families, "backend_state", { model, state: "ready" })).toBe(1);
    }
  });

  it("of components come out as they are, each with its own bytes", async () => {
    for (const names of [NASTY.slice(0, 12), NASTY.slice(12)]) {
      const breakdown = Object.fromEntries(names.map((name, index) => [name, BigInt(index + 1)]));
      const createClient = reporting(() => ({ state: 2, memory: { total: 1n, breakdown } }));
      const { scrape } = await metricsHost({ registry: registryOf(modelsNamed(NASTY)), createClient });
      const families = await scrape();
      const expected = new Map(names.map((name, index) => [name.replace(",model:", ", model:"), index + 1]));
      for (const model of NASTY) {
        const samples = samplesOf(families, "backend_memory_component_bytes", model);
        expect(new Map(samples.map(({ labels, value }) => [labels.component, value]))).toEqual(expected);
      }
    }
  });

  it("of components do not pass for another model's", async () => {
    // prom-client's own word for both of these is "component:x,model:y,model:z,".
    const registry = registryOf(modelsNamed(["z", "y,model:z"]));
    const createClient = reporting(({ name }) => ({
      state: 2,
      memory: { total: 1n, breakdown: name === "z" ? { "x,model:y": 1n } : { x: 2n } },
    }));
    const { scrape } = await metricsHost({ registry, createClient });
    const families = await scrape();
    const of = (model: string) => valuesBy("component", families, "backend_memory_component_bytes", model);
    expect(of("z")).toEqual({ "x, model:y": 1 });
    expect(of("y,model:z")).toEqual({ x: 2 });
  });

  it("are sent as valid UTF-8, where half a character is in them", async () => {
    const registry = registryOf(modelsNamed(["high\ud83e", "low\udd99", "both\udd99\ud83e"]));
    const breakdown = { "a\ud800": 1n, "a\ud801": 2n };
    const createClient = reporting(() => ({ state: 2, memory: { total: 3n, breakdown } }));
    const { register, scrape } = await metricsHost({ registry, createClient });
    const families = await scrape();
    expect(modelsOf(families, "backend_up").sort()).toEqual(["both\ufffd\ufffd", "high\ufffd", "low\ufffd"]);
    // What would be sent as the same is one.
    expect(valuesBy("component", families, "backend_memory_component_bytes", "low\ufffd")).toEqual({
      "a\ufffd": 3,
    });
    expect(await register.metrics()).not.toMatch(/\p{Surrogate}/u);
  });
});

it.each([
  [0n, 0],
  [2n ** 53n + 1n, 2 ** 53],
  [2n ** 53n + 3n, 2 ** 53 + 4],
  [2n ** 64n - 1n, 2 ** 64],
])("%i bytes are sent as the nearest double", async (total, value) => {
  const createClient = reporting(() => ({ state: 2, memory: { total, breakdown: { all: total } } }));
  const { scrape } = await metricsHost({ registry: registryOf(modelsNamed(["m"])), createClient });
  const families = await scrape();
  expect(figure(families, "backend_memory_component_bytes", { model: "m", component: "all" })).toBe(value);
  if (total > 0n) expect(figure(families, "backend_memory_bytes", { model: "m" })).toBe(value);
});

describe("a register", () => {
  const monitorOf = (...names: string[]) => {
    const monitor = new BackendMonitor({
      registry: registryOf(modelsNamed(names)),
      createClient: reporting(() => ({ state: 2 })),
    });
    onTestFinished(() => monitor.close());
    return monitor;
  };

  it("that has a metric of such a name gets none of them", () => {
    const register = new Registry();
    new Counter({ name: "backend_cpu_seconds_total", help: "The host's own.", registers: [register] });
    expect(() => registerBackendMetrics({ monitor: monitorOf(), register })).toThrow(
      'registerBackendMetrics: this register has a metric "backend_cpu_seconds_total" already. It takes the metrics of one ' +
        "monitor, once: for another monitor, give it a register of its own, made with new Registry()",
    );
    expect(register.getMetricsAsArray()).toHaveLength(1);
  });

  it("takes them once, whoever's they are, and a monitor goes on several", async () => {
    const monitor = monitorOf("m");
    const [register, other] = [new Registry(), new Registry()];
    registerBackendMetrics({ monitor, register });
    for (const again of [monitor, monitorOf("n")]) {
      expect(() => registerBackendMetrics({ monitor: again, register })).toThrow(/"backend_models" already/);
    }
    registerBackendMetrics({ monitor, register: other });
    for (const each of [register, other]) {
      expect(figure(parseMetrics(await each.metrics()), "backend_up", { model: "m" })).toBe(1);
    }
    expect(monitor.listenerCount("shutdown")).toBe(2);
  });

  it("that is cleared has nothing left that listens, and may have them again", async () => {
    const monitor = monitorOf("m");
    const register = new Registry();
    for (let round = 0; round < 3; round++) {
      registerBackendMetrics({ monitor, register });
      await monitor.status("m");
      await expect(monitor.shutdown("nobody")).rejects.toThrow();
      const labels = { model: "", outcome: "model_not_loaded" };
      await expect
        .poll(async () => figure(parseMetrics(await register.metrics()), "backend_shutdowns_total", labels))
        .toBe(1);
      expect([monitor.listenerCount("latency"), monitor.listenerCount("shutdown")]).toEqual([1, 1]);
      register.clear();
    }
    await monitor.status("m");
    await expect(monitor.shutdown("nobody")).rejects.toThrow();
    await expect.poll(() => monitor.listenerCount("latency")).toBe(0);
    await expect.poll(() => monitor.listenerCount("shutdown")).toBe(0);
  });

  it("of which all is set back to nothing has it again at the next scrape", async () => {
    const { register, scrape } = await metricsHost({
      registry: registryOf(modelsNamed(["m"])),
      createClient: reporting(() => ({ state: 2 })),
    });
    await scrape();
    register.resetMetrics();
    const families = await scrape();
    expect(figure(families, "backend_models")).toBe(1);
    expect(figure(families, "backend_up", { model: "m" })).toBe(1);
  });
});
