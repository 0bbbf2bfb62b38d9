import { status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { InMemoryModelRegistry } from "../../lib/index.js";
import { look, lookAround } from "../support/cpu.js";
import { type BackendCalls, fails, hasMemory, isOk, replies, serveBackend } from "../support/grpc.js";
import { figure, metricsHost, samplesOf, valuesBy } from "../support/metrics.js";
import { freeze, isLinux, kernelBytes, startScript } from "../support/processes.js";

const m = { model: "m" };

/** A host app with a model "m", whose backend answers these calls. */
async function hostOf(calls: BackendCalls, pid?: number) {
  const registry = new InMemoryModelRegistry();
  const { address } = await serveBackend(calls);
  registry.register({ name: "m", address, pid });
  return metricsHost({ registry });
}

describe("what a backend says of itself", () => {
  it("is its memory, and that it is up and ready", async () => {
    const { scrape } = await hostOf({ Status: hasMemory });
    const families = await scrape();
    expect(figure(families, "backend_models")).toBe(1);
    expect(figure(families, "backend_up", m)).toBe(1);
    expect(valuesBy("state", families, "backend_state", "m")).toEqual({
      uninitialized: 0,
      busy: 0,
      ready: 1,
      error: 0,
      other: 0,
    });
    expect(figure(families, "backend_memory_bytes", m)).toBe(300);
    expect(valuesBy("component", families, "backend_memory_component_bytes", "m")).toEqual({
      weights: 200,
      kv_cache: 100,
    });
  });

  it.each([
    [0, "uninitialized"],
    [1, "busy"],
    [2, "ready"],
    [-1, "error"],
    [3, "other"],
    [-2, "other"],
  ])("is its state: %i is %s", async (state, name) => {
    const { scrape } = await hostOf({ Status: replies({ state }) });
    const families = await scrape();
    const states = valuesBy("state", families, "backend_state", "m");
    expect(states).toEqual({ uninitialized: 0, busy: 0, ready: 0, error: 0, other: 0, [name]: 1 });
    expect(figure(families, "backend_up", m)).toBe(1);
  });

  it("is no figure where nobody tells any", async () => {
    const { scrape } = await hostOf({ Status: replies({ state: 2 }) });
    const families = await scrape();
    for (const what of ["memory", "memory_component", "resident_memory", "virtual_memory"]) {
      expect(samplesOf(families, `backend_${what}_bytes`)).toEqual([]);
    }
    expect(samplesOf(families, "backend_cpu_seconds_total")).toEqual([]);
  });

  it("is nothing where it is not there, nor a process of it", async () => {
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: "127.0.0.1:1" });
    const { scrape } = await metricsHost({ registry });
    const families = await scrape();
    expect(figure(families, "backend_models")).toBe(1);
    expect(figure(families, "backend_up", m)).toBe(0);
    expect(valuesBy("state", families, "backend_state", "m")).toMatchObject({ error: 1, ready: 0 });
    expect(samplesOf(families, "backend_memory_bytes")).toEqual([]);
  });
});

describe.skipIf(!isLinux)("what the kernel says of the processes", () => {
  it("is their memory, beside what the backend reports", async () => {
    const { pid, words } = await startScript("family.mjs");
    const pids = words.map(Number);
    for (const member of pids) await freeze(member);
    const { scrape } = await hostOf({ Status: hasMemory }, pid);
    const families = await scrape();
    const kernel = (field: string) => pids.reduce((sum, member) => sum + kernelBytes(member, field), 0);
    expect(pids).toHaveLength(5);
    expect(figure(families, "backend_memory_bytes", m)).toBe(300);
    expect(figure(families, "backend_resident_memory_bytes", m)).toBe(kernel("VmRSS"));
    expect(figure(families, "backend_virtual_memory_bytes", m)).toBe(kernel("VmSize"));
  });

  it.each([
    ["has no Status but is healthy", { Health: isOk }, 1, "ready"],
    ["has no Status and is not healthy", { Health: replies({ message: Buffer.from("no") }) }, 0, "error"],
    ["fails in Status", { Status: fails(status.INTERNAL, "boom"), Health: isOk }, 0, "error"],
    ["reports no memory", { Status: replies({ state: 1 }) }, 1, "busy"],
  ])("is the model's memory where its backend %s", async (_what, calls, up, state) => {
    const { pid } = await startScript("stubborn.mjs");
    await freeze(pid);
    const { scrape } = await hostOf(calls, pid);
    const families = await scrape();
    expect(figure(families, "backend_up", m)).toBe(up);
    expect(figure(families, "backend_state", { ...m, state })).toBe(1);
    expect(figure(families, "backend_memory_bytes", m)).toBe(kernelBytes(pid, "VmRSS"));
    expect(valuesBy("component", families, "backend_memory_component_bytes", "m")).toEqual({
      anonymous: kernelBytes(pid, "RssAnon"),
      file: kernelBytes(pid, "RssFile"),
      shared: kernelBytes(pid, "RssShmem"),
    });
  });

  it("is the CPU time that they have used", async () => {
    const { pid, words } = await startScript("burn.mjs", ["2"]);
    const pids = words.map(Number);
    const { scrape } = await hostOf({ Status: hasMemory }, pid);
    let last = 0;
    for (let round = 0; round < 3; round++) {
      const [families, [before, after]] = await lookAround(pids, scrape);
      const cpuMs = 1000 * (figure(families, "backend_cpu_seconds_total", m) ?? Number.NaN);
      expect(cpuMs).toBeGreaterThanOrEqual(Math.max(last, before.cpuMs - 1e-6));
      expect(cpuMs).toBeLessThanOrEqual(after.cpuMs + 1e-6);
      last = cpuMs;
      await expect.poll(() => look(...pids).cpuMs).toBeGreaterThan(after.cpuMs + 50);
    }
  });
});
