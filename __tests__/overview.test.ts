import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import express from "express";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import {
  type BackendClient,
  BackendMonitor,
  type BackendMonitorEvents,
  type BackendMonitorOptions,
  createBackendMonitorRouter,
  InMemoryModelRegistry,
  InternalError,
  type LoadedModel,
  type ModelOverview,
  type ModelRegistry,
} from "../lib/index.js";
import { partsOf } from "../lib/monitor.js";
import {
  type BackendCalls,
  type Call,
  hasMemory,
  isOk,
  neverReplies,
  replies,
  serveBackend,
} from "./support/grpc.js";
import { serveHttp } from "./support/http.js";
import { freePort, isLinux, kernelBytes, startScript } from "./support/processes.js";

type Models = Record<string, { calls: BackendCalls; pid?: number | undefined }>;

/** A monitor of models whose backends answer these calls. */
async function monitorOf(models: Models, options: Partial<BackendMonitorOptions> = {}) {
  const registry = new InMemoryModelRegistry();
  for (const [name, { calls, pid }] of Object.entries(models)) {
    const { address } = await serveBackend(calls);
    registry.register({ name, address, pid });
  }
  // A machine may be busy.
  const monitor = new BackendMonitor({ registry, statusTimeoutMs: 15_000, ...options });
  onTestFinished(() => monitor.close());
  return { monitor, registry };
}

/** A monitor of so many models of a client of the host's own. */
function monitorOfClients(
  count: number,
  client: (model: LoadedModel) => Partial<BackendClient>,
  statusTimeoutMs = 2_000,
) {
  const models = Array.from({ length: count }, (_, index) => ({ name: `m${index}`, address: "127.0.0.1:1" }));
  const registry: ModelRegistry = {
    get: (name) => models.find((model) => model.name === name),
    list: () => models,
    shutdown: () => {},
  };
  const idle = {
    status: async () => ({ state: 2 }),
    health: async () => true,
    free: async () => {},
    close: () => {},
  };
  const createClient = (model: LoadedModel) => ({ ...idle, ...client(model) });
  return { monitor: new BackendMonitor({ registry, createClient, statusTimeoutMs }), models };
}

function named(overview: readonly ModelOverview[], name: string): ModelOverview {
  return overview.find((model) => model.name === name) ?? expect.fail(`there is no model ${name}`);
}

const ready = async () => ({ state: 2, memory: { total: 7n, breakdown: {} } });

/** What a client gives that never answers. */
const never = () => new Promise<never>(() => {});

describe("overview", () => {
  it.skipIf(!isLinux)("has the answer of each model, A to D, and what its processes cost", async () => {
    const [a, b, c] = await Promise.all([
      startScript("family.mjs"),
      startScript("stubborn.mjs"),
      startScript("stubborn.mjs"),
    ]);
    const { monitor, registry } = await monitorOf({
      a: { calls: { Status: hasMemory }, pid: a.pid },
      b: { calls: { Status: replies({ state: 1 }) }, pid: b.pid },
      c: { calls: { Health: isOk }, pid: c.pid },
      remote: { calls: { Status: hasMemory } },
    });
    registry.register({ name: "d", address: `127.0.0.1:${await freePort()}` });
    const before = Date.now();
    const overview = await monitor.overview();

    expect(overview.map(({ name }) => name)).toEqual(["a", "b", "c", "remote", "d"]);
    expect(named(overview, "a")).toMatchObject({
      pid: a.pid,
      status: { state: 2, memory: { total: 300n, breakdown: { weights: 200n, kv_cache: 100n } } },
      process: { processes: a.words.length },
      shutdown: null,
    });
    expect(named(overview, "b").status).toMatchObject({ state: 1, memory_info: { rss: expect.any(Number) } });
    expect(named(overview, "c").status).toMatchObject({ state: 2, status_error: { code: "UNIMPLEMENTED" } });
    expect(named(overview, "remote")).toEqual({
      name: "remote",
      address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      pid: null,
      loaded_since: null,
      status: { state: 2, memory: { total: 300n, breakdown: { weights: 200n, kv_cache: 100n } } },
      process: null,
      shutdown: null,
    });
    const failed = named(overview, "d");
    expect(failed.error).toEqual({
      code: 500,
      type: "backend_error",
      message: expect.stringContaining("UNAVAILABLE"),
    });
    expect(failed).not.toHaveProperty("status");

    const kernel = a.words.reduce((sum, word) => sum + kernelBytes(Number(word), "VmRSS"), 0);
    const { process: cost, loaded_since } = named(overview, "a");
    expect(Math.abs(Number(cost?.rss) - kernel)).toBeLessThan(0.05 * kernel);
    expect(cost?.cpu_seconds).toBeGreaterThan(0);
    // Within a few seconds: a Node process has just been started.
    const since = Date.parse(loaded_since ?? "");
    expect(since).toBeLessThan(before);
    expect(since).toBeGreaterThan(before - 60_000);
  });

  it("is empty where no model is loaded", async () => {
    expect(await new BackendMonitor({ registry: new InMemoryModelRegistry() }).overview()).toEqual([]);
  });

  it("is there when the time is over, however many backends hang, and each of the others has had its turn", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const { monitor } = monitorOfClients(1_000, ({ name }) => ({ status: name === "m999" ? ready : never }));
    let overview: ModelOverview[] | undefined;
    monitor.overview().then((all) => {
      overview = all;
    });
    await vi.advanceTimersByTimeAsync(1_900);
    expect(overview).toBeUndefined();
    await vi.advanceTimersByTimeAsync(200);
    const answered = overview?.filter(({ status }) => status);
    expect(answered).toEqual([expect.objectContaining({ name: "m999" })]);
    expect(overview?.filter(({ error }) => error?.message.includes("DEADLINE_EXCEEDED"))).toHaveLength(999);
  });

  it("has one deadline for the list, for Status and for Health", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const registry: ModelRegistry = {
      get: () => undefined,
      list: async () => {
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        return [{ name: "m", address: "127.0.0.1:1" }];
      },
      shutdown: () => {},
    };
    const status = async () => {
      await new Promise((resolve) => setTimeout(resolve, 900));
      throw Object.assign(new Error("no such method"), { code: 12 });
    };
    const client: BackendClient = { status, health: never, free: async () => {}, close: () => {} };
    const monitor = new BackendMonitor({ registry, createClient: () => client, statusTimeoutMs: 2_000 });
    const done = vi.fn();
    monitor.overview().then(done);
    await vi.advanceTimersByTimeAsync(2_100);
    expect(done).toHaveBeenCalledOnce();
  });

  it("asks few backends at a time, and all of them", async () => {
    let asked = 0;
    let atOnce = 0;
    let most = 0;
    const status = async () => {
      asked++;
      most = Math.max(most, ++atOnce);
      await delay(1);
      atOnce--;
      return ready();
    };
    const { monitor } = monitorOfClients(500, () => ({ status }), 60_000);
    expect(await monitor.overview()).toHaveLength(500);
    expect(asked).toBe(500);
    expect(most).toBe(64);
  });

  it("is one for all who ask meanwhile, and has one call with those who ask for one model", async () => {
    let calls = 0;
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const status = async () => {
      calls++;
      await released;
      return ready();
    };
    const { monitor } = monitorOfClients(1, () => ({ status }));
    const [first, second, one] = [monitor.overview(), monitor.overview(), monitor.status("m0")];
    await vi.waitFor(() => expect(calls).toBe(1));
    release();
    expect(await second).toBe(await first);
    expect(await one).toEqual((await first)[0]?.status);
    expect(calls).toBe(1);
    await monitor.overview();
    expect(calls).toBe(2);
  });

  it.skipIf(!isLinux)("measures CPU since the last overview", async () => {
    const { pid, process: child } = await startScript("burn.mjs");
    const { monitor } = await monitorOf({ m: { calls: { Health: isOk }, pid } });
    const [first] = await monitor.overview();
    process.kill(pid, "SIGSTOP");
    onTestFinished(() => void child.kill("SIGCONT"));
    const at = performance.now();
    await vi.waitFor(() => expect(performance.now() - at).toBeGreaterThan(600), { timeout: 10_000 });
    const [second] = await monitor.overview();
    await vi.waitFor(() => expect(performance.now() - at).toBeGreaterThan(1_200), { timeout: 10_000 });
    const [third] = await monitor.overview();
    expect(first?.process?.cpu_percent).toBeGreaterThan(0);
    expect(third?.process?.cpu_percent).toBe(0);
    expect(third?.process?.cpu_seconds).toBe(second?.process?.cpu_seconds);
    expect(third?.loaded_since).toBe(first?.loaded_since);
  });

  it.each([
    ["throws", () => Promise.reject(new Error("the database is down")), "the database is down"],
    ["hangs", never, "registry.list() did not answer within 50 ms"],
    ["answers no array", () => ({ m: {} }), "returns an array of models, got an object"],
    [
      "lists something without a name",
      () => [{ name: "m", address: "a:1" }, {}],
      "index 1 whose name is undefined",
    ],
    ["lists nothing in a model's place", () => [null], "index 0 whose name is undefined"],
  ])("fails where the registry %s", async (_what, list, cause) => {
    const registry = { get: () => undefined, list, shutdown: () => {} } as unknown as ModelRegistry;
    const monitor = new BackendMonitor({ registry, statusTimeoutMs: 50 });
    const failure = await monitor.overview().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(InternalError);
    expect((failure as InternalError).message).toBe(
      "the registry failed to list its models; the server's logger is told why",
    );
    expect(String((failure as InternalError).cause)).toContain(cause);
  });

  it("has an error for a model that is none, and the others all the same", async () => {
    const wrong = { name: "wrong", address: 42, pid: "4711" };
    const right = { name: "right", address: "127.0.0.1:1" };
    const registry = { get: () => undefined, list: () => [wrong, right], shutdown: () => {} };
    const client: BackendClient = {
      status: ready,
      health: async () => true,
      free: async () => {},
      close: () => {},
    };
    const monitor = new BackendMonitor({
      registry: registry as unknown as ModelRegistry,
      createClient: () => client,
    });
    const overview = await monitor.overview();
    expect(named(overview, "wrong")).toEqual({
      name: "wrong",
      address: "",
      pid: null,
      loaded_since: null,
      error: expect.objectContaining({ type: "internal_error", message: expect.stringContaining('"wrong"') }),
      process: null,
      shutdown: null,
    });
    expect(named(overview, "right").status).toEqual({ state: 2, memory: { total: 7n, breakdown: {} } });
  });

  it("tells the log of a failure once, and once more when it is another one", async () => {
    const told: string[] = [];
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: `127.0.0.1:${await freePort()}` });
    const logger = { info: () => {}, error: (line: string) => told.push(line) };
    const monitor = new BackendMonitor({ registry, logger, statusTimeoutMs: 500 });
    onTestFinished(() => monitor.close());
    for (let count = 0; count < 3; count++) await monitor.overview();
    expect(told).toHaveLength(1);
    const { address } = await serveBackend({ Status: neverReplies });
    registry.register({ name: "m", address });
    for (let count = 0; count < 2; count++) await monitor.overview();
    expect(told).toEqual([
      expect.stringContaining("UNAVAILABLE"),
      expect.stringContaining("DEADLINE_EXCEEDED"),
    ]);
  });

  it("closes the connection to a model that is no longer listed, and keeps that to the others", async () => {
    const closed: string[] = [];
    const { monitor, models } = monitorOfClients(3, ({ name }) => ({ close: () => closed.push(name) }));
    await monitor.overview();
    models.splice(1, 1);
    await monitor.overview();
    expect(closed).toEqual(["m1"]);
  });
});

describe("a glance", () => {
  it.skipIf(!isLinux)(
    "does not wait for a backend that has said something before, and has its processes' cost of now",
    async () => {
      const { pid, words } = await startScript("family.mjs");
      let answer: Call = hasMemory;
      const Status: Call = (call, reply) => answer(call, reply);
      const { monitor } = await monitorOf({ m: { calls: { Status }, pid } }, { statusTimeoutMs: 60_000 });
      const { overviews } = partsOf(monitor);
      const [before] = await overviews.glance(0);
      answer = neverReplies;
      process.kill(Number(words.at(-1)), "SIGKILL");
      await vi.waitFor(async () => {
        const [now] = await overviews.glance(0);
        expect(now?.status).toEqual(before?.status);
        expect(now?.process?.processes).toBe(words.length - 1);
      });
    },
  );

  it("waits for one that has not said anything yet", async () => {
    const status = async () => {
      await delay(100);
      return ready();
    };
    const { monitor } = monitorOfClients(1, () => ({ status }));
    const [model] = await partsOf(monitor).overviews.glance(0);
    expect(model?.status?.state).toBe(2);
  });
});

describe("events", () => {
  async function told(monitor: BackendMonitor) {
    const phases: [string, string][] = [];
    monitor.on("shutdown", ({ name, phase }) => phases.push([name, phase]));
    return phases;
  }

  it.skipIf(!isLinux)("tell of the phases of a shutdown, which an overview has, too", async () => {
    const { pid, words } = await startScript("family.mjs");
    let free = () => {};
    const Free: Call = (_call, reply) => {
      free = () => reply(null, { success: true, message: "" });
    };
    const { monitor } = await monitorOf({ m: { calls: { Status: hasMemory, Free }, pid } });
    const phases = await told(monitor);
    const shutdown = monitor.shutdown("m");
    await vi.waitFor(() =>
      expect(phases).toEqual([
        ["m", "draining"],
        ["m", "freeing"],
      ]),
    );
    expect(named(await monitor.overview(), "m").shutdown).toBe("freeing");
    const end = once(monitor, "shutdown").then(() => once(monitor, "shutdown"));
    free();
    await shutdown;
    expect(await end).toEqual([
      { name: "m", phase: "stopped", processes: words.length, durationMs: expect.any(Number) },
    ]);
    expect(phases.map(([, phase]) => phase)).toEqual(["draining", "freeing", "terminating", "stopped"]);
    expect(await monitor.overview()).toEqual([]);
  });

  it("leave out what a forced shutdown does not do", async () => {
    const { monitor } = monitorOfClients(1, () => ({}));
    const phases = await told(monitor);
    await monitor.shutdown("m0", { force: true }).catch(() => {});
    await vi.waitFor(() =>
      expect(phases).toEqual([
        ["m0", "terminating"],
        ["m0", "failed"],
      ]),
    );
  });

  it("tell of one that fails why, and have no phase of a model that is not loaded", async () => {
    const { monitor } = monitorOfClients(0, () => ({}));
    const end = once(monitor, "shutdown");
    await monitor.shutdown("unheard-of").catch(() => {});
    expect(await end).toEqual([
      expect.objectContaining({
        name: "unheard-of",
        phase: "failed",
        error: expect.objectContaining({ type: "model_not_loaded" }),
      }),
    ]);
  });

  it.skipIf(!isLinux)("tell how long each source took", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const { monitor } = await monitorOf({
      m: { calls: { Health: isOk }, pid },
      n: { calls: { Status: hasMemory } },
    });
    const latencies: BackendMonitorEvents["latency"][0][] = [];
    monitor.on("latency", (latency) => latencies.push(latency));
    await monitor.status("m");
    await monitor.overview();
    await vi.waitFor(() => expect(latencies).toHaveLength(5));
    const sources = latencies.map(({ name, source }) => `${name} ${source}`).sort();
    expect(sources).toEqual(["m grpc", "m grpc", "m process", "m process", "n grpc"]);
    for (const { durationMs } of latencies) expect(durationMs).toBeGreaterThan(0);
  });
});

describe("a router with a monitor that is there already", () => {
  it("answers by that monitor", async () => {
    const { monitor } = monitorOfClients(1, () => ({ status: ready }));
    const send = await serveHttp(express().use(createBackendMonitorRouter({ monitor })));
    const { json } = await send("/backend/monitor?model=m0");
    expect(json).toEqual({ state: 2, memory: { total: 7, breakdown: {} } });
    const end = once(monitor, "shutdown");
    await send("/backend/shutdown", {
      method: "POST",
      body: '{"model":"m0"}',
      headers: { "Content-Type": "application/json" },
    });
    expect(await end).toEqual([expect.objectContaining({ name: "m0", phase: "draining" })]);
  });

  it.each([
    [
      { monitor: 42 },
      'createBackendMonitorRouter: option "monitor" takes a BackendMonitor, got the number 42',
    ],
    [
      { monitor: undefined },
      'createBackendMonitorRouter: option "monitor" takes a BackendMonitor, got undefined',
    ],
    [
      { monitor: monitorOfClients(0, () => ({})).monitor, registry: new InMemoryModelRegistry() },
      'createBackendMonitorRouter has no option "registry"; its options are monitor, authorize, allowedHosts',
    ],
  ])("refuses %o", (options, message) => {
    expect(() => createBackendMonitorRouter(options as never)).toThrow(new TypeError(message));
  });
});

describe("an overview while a model is stopped", () => {
  it("is not shared with who asks when it is stopped", async () => {
    let isHanging = true;
    let asked = 0;
    const status = () => {
      asked++;
      return isHanging ? never() : ready();
    };
    const { monitor, models } = monitorOfClients(2, ({ name }) => ({
      status: name === "m0" ? status : ready,
    }));
    const before = monitor.overview();
    await vi.waitFor(() => expect(asked).toBe(1));
    const shutdown = monitor.shutdown("m1", { force: true });
    models.pop();
    await shutdown;
    isHanging = false;
    expect((await monitor.overview()).map(({ name }) => name)).toEqual(["m0"]);
    await before;
  });

  /** A monitor of one model, whose backend answers nothing, and whose shutdown ends when it is told to. */
  async function stopping(status: () => Promise<{ state: number }>) {
    const told: string[] = [];
    let end = () => {};
    const models = new Map([["m", { name: "m", address: "127.0.0.1:1" }]]);
    const registry: ModelRegistry = {
      get: (name) => models.get(name),
      list: () => [...models.values()],
      shutdown: async (name) => {
        await new Promise<void>((resolve) => {
          end = resolve;
        });
        models.delete(name);
      },
    };
    const client: BackendClient = { status, health: never, free: async () => {}, close: () => {} };
    const logger = { info: () => {}, error: (line: string) => told.push(line) };
    const monitor = new BackendMonitor({ registry, logger, createClient: () => client });
    const terminating = once(monitor, "shutdown");
    const shutdown = monitor.shutdown("m", { force: true });
    await terminating;
    const stop = async () => {
      end();
      await shutdown;
    };
    return { monitor, told, stop };
  }

  it("has its error, and tells the log nothing of that, as nobody can answer then", async () => {
    const { monitor, told, stop } = await stopping(() => Promise.reject(new Error("it has ended")));
    expect(await monitor.overview()).toEqual([
      expect.objectContaining({
        shutdown: "terminating",
        error: expect.objectContaining({ type: "backend_error" }),
      }),
    ]);
    await stop();
    expect(told).toEqual([]);
  });

  it.each([
    ["fails", () => Promise.reject(new Error("it has ended"))],
    ["answers", ready],
  ])("does not have it where it is gone when its Status %s", async (_what, settle) => {
    let settleNow: (() => void) | undefined;
    const status = async () => {
      await new Promise<void>((resolve) => {
        settleNow = resolve;
      });
      return settle();
    };
    const { monitor, told, stop } = await stopping(status);
    const overview = monitor.overview();
    await vi.waitFor(() => expect(settleNow).toBeDefined());
    await stop();
    settleNow?.();
    expect(await overview).toEqual([]);
    expect(told).toEqual([]);
  });
});
