import { describe, expect, it } from "vitest";
import { InMemoryModelRegistry, MonitorError } from "../../lib/index.js";
import { type BackendCalls, hasMemory, replies, serveBackend } from "../support/grpc.js";
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
import { isLinux, isRunning, startScript } from "../support/processes.js";
import { parseMetrics } from "../support/prometheus.js";

const m = { model: "m" };
const DURATION = "backend_monitor_duration_seconds";

async function registryWith(calls: BackendCalls, pid?: number): Promise<InMemoryModelRegistry> {
  const registry = new InMemoryModelRegistry();
  registry.register({ name: "m", address: (await serveBackend(calls)).address, pid });
  return registry;
}

describe("shutdowns", () => {
  it("are counted by how they ended, from nothing for each model that is loaded", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const registry = await registryWith({ Status: hasMemory }, pid);
    registry.register({
      name: "busy",
      address: (await serveBackend({ Status: replies({ state: 1 }) })).address,
    });
    registry.register({ name: "lost", address: "127.0.0.1:1", stop: () => Promise.reject(new Error()) });
    const { scrape, monitor } = await metricsHost({ registry, drainTimeoutMs: 0, terminateTimeoutMs: 200 });
    const outcomes = async (model: string) =>
      valuesBy("outcome", await scrape(), "backend_shutdowns_total", model);
    const nothing = { stopped: 0, model_busy: 0, backend_error: 0, internal_error: 0 };
    for (const model of ["m", "busy", "lost"]) expect(await outcomes(model)).toEqual(nothing);
    expect(await outcomes("")).toEqual({ model_not_loaded: 0 });

    // Those at the same time share one.
    await Promise.all([monitor.shutdown("m", { force: true }), monitor.shutdown("m")]);
    for (const name of ["busy", "busy", "lost", "nobody", "nobody else", "m"]) {
      await expect(monitor.shutdown(name)).rejects.toThrow();
    }
    expect(isRunning(pid)).toBe(false);
    expect(await outcomes("m")).toEqual({ ...nothing, stopped: 1 });
    expect(await outcomes("busy")).toEqual({ ...nothing, model_busy: 2 });
    expect(await outcomes("lost")).toEqual({ ...nothing, backend_error: 1 });
    expect(await outcomes("")).toEqual({ model_not_loaded: 3 });
    expect(modelsOf(await scrape(), "backend_shutdowns_total").sort()).toEqual(["", "busy", "lost", "m"]);
  });

  it("of names that the registry could not look up make no label of them", async () => {
    const registry = { ...registryOf(modelsNamed(["m"])), get: () => Promise.reject(new Error("boom")) };
    const { scrape, monitor } = await metricsHost({
      registry,
      createClient: reporting(() => ({ state: 2 })),
    });
    for (const name of ["a", "b", "m"]) await expect(monitor.shutdown(name)).rejects.toThrow();
    const families = await scrape();
    expect(modelsOf(families, "backend_shutdowns_total").sort()).toEqual(["", "m"]);
    expect(figure(families, "backend_shutdowns_total", { model: "", outcome: "internal_error" })).toBe(3);
  });

  it("that end in an error of the host's own making have an outcome that there is", async () => {
    const registry = registryOf(modelsNamed(["m"]));
    const shutdown = (type: string) => () => Promise.reject(new MonitorError(500, type as never, "no"));
    const failing = { ...registry };
    const { scrape, monitor } = await metricsHost({
      registry: failing,
      createClient: reporting(() => ({ state: 2 })),
    });
    for (const type of ["backend_error", "invalid_request_error", "one", "two\n"]) {
      failing.shutdown = shutdown(type);
      await expect(monitor.shutdown("m")).rejects.toThrow("no");
    }
    expect(valuesBy("outcome", await scrape(), "backend_shutdowns_total", "m")).toEqual({
      stopped: 0,
      model_busy: 0,
      backend_error: 1,
      internal_error: 2,
      invalid_request_error: 1,
    });
  });
});

describe("the time that the monitor takes", () => {
  it.skipIf(!isLinux)("is what its events tell, in seconds, of a few buckets", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const registry = await registryWith({ Status: hasMemory }, pid);
    const { monitor, scrape, register } = await metricsHost({ registry });
    const sums = { grpc: 0, process: 0 };
    const counts = { grpc: 0, process: 0 };
    monitor.on("latency", ({ source, durationMs }) => {
      sums[source] += durationMs / 1000;
      counts[source] += 1;
    });
    for (let round = 0; round < 3; round++) await scrape();
    await monitor.status("m");
    // What a scrape tells last may come after it.
    await expect.poll(() => counts).toEqual({ grpc: 4, process: 3 });
    // The register is read without asking anybody again.
    monitor.overview = () => Promise.resolve([{ name: "m" } as never]);
    const families = parseMetrics(await register.metrics());
    for (const source of ["grpc", "process"] as const) {
      expect(figure(families, `${DURATION}_count`, { ...m, source })).toBe(counts[source]);
      const sum = figure(families, `${DURATION}_sum`, { ...m, source });
      expect(sum).toBeCloseTo(sums[source], 9);
    }
    const buckets = samplesOf(families, `${DURATION}_bucket`, "m");
    const bounds = buckets.filter(({ labels }) => labels.source === "grpc").map(({ labels }) => labels.le);
    expect(bounds).toEqual(["0.001", "0.005", "0.025", "0.1", "0.5", "2.5", "+Inf"]);
  });
});
