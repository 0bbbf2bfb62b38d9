import { EventEmitter, once } from "node:events";
import { totalmem } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  BackendCallError,
  BackendError,
  BackendMonitor,
  type BackendMonitorOptions,
  grpcBackendClient,
  InMemoryModelRegistry,
  InternalError,
  type LoadedModel,
  ModelBusyError,
  ModelNotLoadedError,
  type ModelRegistry,
  type RegistryShutdownOptions,
} from "../lib/index.js";
import { terminateProcessTree } from "../lib/process/index.js";
import {
  type BackendCalls,
  type Call,
  fails,
  frees,
  hasMemory,
  isOk,
  neverReplies,
  replies,
  serveBackend,
  serveBytes,
} from "./support/grpc.js";
import {
  canChoosePid,
  freePort,
  freeze,
  hasEnded,
  isLinux,
  isRunning,
  kernelBytes,
  kernelCpuMs,
  startScript,
  startWithPid,
} from "./support/processes.js";

/** A monitor of one model "m", whose backend answers these calls. */
async function monitorOf(calls: BackendCalls, pid?: number, options: Partial<BackendMonitorOptions> = {}) {
  const backend = await serveBackend(calls);
  const registry = new InMemoryModelRegistry();
  registry.register({ name: "m", address: backend.address, pid });
  const monitor = new BackendMonitor({ registry, ...options });
  onTestFinished(() => monitor.close());
  return { monitor, registry, backend };
}

const busy = replies({ state: 1 });

describe("status", () => {
  it("A: is what the backend reports", async () => {
    const { monitor } = await monitorOf({ Status: hasMemory });
    expect(await monitor.status("m")).toEqual({
      state: 2,
      memory: { total: 300n, breakdown: { weights: 200n, kv_cache: 100n } },
    });
  });

  it("A: takes a total of 0 with a breakdown, and a breakdown of nothing with a total, for a report", async () => {
    const parts = await monitorOf({
      Status: replies({ state: 0, memory: { total: 0, breakdown: { a: 0 } } }),
    });
    expect(await parts.monitor.status("m")).toEqual({
      state: 0,
      memory: { total: 0n, breakdown: { a: 0n } },
    });
    const total = await monitorOf({ Status: replies({ state: -1, memory: { total: 7 } }) });
    expect(await total.monitor.status("m")).toEqual({ state: -1, memory: { total: 7n, breakdown: {} } });
  });

  describe.skipIf(!isLinux)("of a process", () => {
    it.each([
      ["no memory", { state: 1 }],
      ["memory of nothing", { state: 1, memory: { total: 0, breakdown: {} } }],
    ])("B: is the backend's state with the system's figures, where it reports %s", async (_what, reply) => {
      const { pid } = await startScript("stubborn.mjs");
      await freeze(pid);
      const { monitor } = await monitorOf({ Status: replies(reply) }, pid);
      const answer = await monitor.status("m");
      const rss = kernelBytes(pid, "VmRSS");
      expect(answer).toEqual({
        state: 1,
        memory: {
          total: BigInt(rss),
          breakdown: {
            anonymous: BigInt(kernelBytes(pid, "RssAnon")),
            file: BigInt(kernelBytes(pid, "RssFile")),
            shared: BigInt(kernelBytes(pid, "RssShmem")),
          },
        },
        memory_info: { rss, vms: kernelBytes(pid, "VmSize") },
        memory_percent: (100 * rss) / totalmem(),
        cpu_percent: expect.any(Number),
      });
    });

    it("C: is the system's figures, and ready where the backend has no Status but is healthy", async () => {
      const { pid, words } = await startScript("family.mjs");
      const { monitor } = await monitorOf({ Health: isOk }, pid);
      const answer = await monitor.status("m");
      expect(answer).toMatchObject({
        state: 2,
        status_error: { code: "UNIMPLEMENTED", message: "Method not implemented!" },
      });
      const kernel = words.reduce((sum, word) => sum + kernelBytes(Number(word), "VmRSS"), 0);
      const { total, breakdown } = answer.memory;
      expect(Math.abs(Number(total) - kernel)).toBeLessThan(0.05 * kernel);
      expect(Object.values(breakdown).reduce((sum, part) => sum + part)).toBe(total);
      expect(answer.memory_info?.rss).toBe(Number(total));
    });

    it.each([
      ["is not healthy", { Health: replies({ message: Buffer.from("loading") }) }, "UNIMPLEMENTED"],
      ["has no Health either", {}, "UNIMPLEMENTED"],
      ["fails in another way", { Status: fails(status.INTERNAL, "boom"), Health: isOk }, "INTERNAL"],
    ])("C: has state -1 where the backend %s", async (_what, calls, code) => {
      const { pid } = await startScript("stubborn.mjs");
      const { monitor } = await monitorOf(calls as BackendCalls, pid);
      expect(await monitor.status("m")).toMatchObject({ state: -1, status_error: { code } });
    });

    it("C: holds for an answer that does not decode", async () => {
      const { pid } = await startScript("stubborn.mjs");
      const { monitor, registry } = await monitorOf({});
      for (const garbage of [[0xff], [0x08], [0x12, 0x05, 0x08], [0x0e]]) {
        const { address } = await serveBytes(Uint8Array.from(garbage));
        registry.register({ name: "m", address, pid });
        expect(await monitor.status("m")).toMatchObject({ state: -1, status_error: { code: "INTERNAL" } });
      }
    });

    it("C: is answered within the deadline where the backend never answers", async () => {
      const { pid } = await startScript("stubborn.mjs");
      for (const calls of [{ Status: neverReplies }, { Health: neverReplies }]) {
        const { monitor } = await monitorOf(calls, pid, { statusTimeoutMs: 300 });
        const since = performance.now();
        const answer = await monitor.status("m");
        expect(performance.now() - since).toBeLessThan(1500);
        const code = calls.Status ? "DEADLINE_EXCEEDED" : "UNIMPLEMENTED";
        expect(answer).toMatchObject({ state: -1, status_error: { code } });
      }
    });

    it("C: has one deadline for Status and Health together", async () => {
      const { pid } = await startScript("stubborn.mjs");
      const late: Call = (call, reply) => {
        setTimeout(() => fails(status.UNIMPLEMENTED, "no")(call, reply), 1000);
      };
      const { monitor } = await monitorOf({ Status: late, Health: neverReplies }, pid, {
        statusTimeoutMs: 2000,
      });
      const since = performance.now();
      expect(await monitor.status("m")).toMatchObject({ state: -1, status_error: { code: "UNIMPLEMENTED" } });
      // With one of its own, Health would have been waited for until then.
      expect(performance.now() - since).toBeLessThan(3000);
    });

    it("C: says what became of a backend without Status that does not answer any more", async () => {
      const { pid } = await startScript("stubborn.mjs");
      let isStuck = false;
      const Health: Call = (call, reply) => (isStuck ? undefined : isOk(call, reply));
      const { monitor, backend } = await monitorOf({ Health }, pid, { statusTimeoutMs: 500 });
      expect(await monitor.status("m")).toMatchObject({ state: 2, status_error: { code: "UNIMPLEMENTED" } });
      isStuck = true;
      const stuck = { state: -1, status_error: { code: "DEADLINE_EXCEEDED" } };
      expect(await monitor.status("m")).toMatchObject(stuck);
      isStuck = false;
      expect(await monitor.status("m")).toMatchObject({ state: 2, status_error: { code: "UNIMPLEMENTED" } });
      backend.stop();
      expect(await monitor.status("m")).toMatchObject({ state: -1, status_error: { code: "UNAVAILABLE" } });
    });

    it("D: names the process that ended while its backend was waited for", async () => {
      const { pid } = await startScript("stubborn.mjs");
      const Health: Call = () => process.kill(pid, "SIGKILL");
      const { monitor } = await monitorOf({ Health }, pid, { statusTimeoutMs: 500 });
      await expect(monitor.status("m")).rejects.toThrow(/UNIMPLEMENTED.*process \d+ (ended|does not exist)/);
    });

    it("C: holds for a backend that is not there, while its process is", async () => {
      const { pid } = await startScript("stubborn.mjs");
      const { monitor, backend } = await monitorOf({}, pid);
      backend.stop();
      const { status_error: error } = await monitor.status("m");
      expect(error).toEqual({
        code: "UNAVAILABLE",
        message: expect.stringMatching(/ECONNREFUSED 127\.0\.0\.1:\d+$/),
      });
    });

    it("C: holds where the host's own client throws, or can't be made", async () => {
      const { pid } = await startScript("stubborn.mjs");
      const broken = () => {
        throw Object.assign(new Error("not today"), { code: 16 });
      };
      const { monitor } = await monitorOf({}, pid, { createClient: broken });
      expect(await monitor.status("m")).toMatchObject({
        state: -1,
        status_error: { code: "UNAUTHENTICATED", message: "not today" },
      });
    });

    it.each([
      ["the name of a status", { code: "UNIMPLEMENTED" }, "UNIMPLEMENTED", 2],
      ["the number of a status", { code: 12 }, "UNIMPLEMENTED", 2],
      ["a code that is none of gRPC's", { code: "ECONNRESET" }, "UNKNOWN", -1],
      ["a member that every object has", { code: "toString" }, "UNKNOWN", -1],
    ])("C: takes from the host's own client an error with %s", async (_what, members, code, state) => {
      const { pid } = await startScript("stubborn.mjs");
      const createClient = () => ({
        status: () => Promise.reject(Object.assign(new Error("at /opt/secret/x.js\n at stack"), members)),
        health: async () => true,
        free: async () => {},
        close: () => {},
      });
      const { monitor } = await monitorOf({}, pid, { createClient });
      expect(await monitor.status("m")).toMatchObject({
        state,
        status_error: { code, message: "at (path)" },
      });
    });

    it("C: shows no path that the host's own client names", async () => {
      const { pid } = await startScript("stubborn.mjs");
      const createClient = () => {
        throw new BackendCallError("INTERNAL", "open /opt/secret/x failed\n at stack");
      };
      const { monitor } = await monitorOf({}, pid, { createClient });
      expect((await monitor.status("m")).status_error?.message).toBe("open (path) failed");
    });

    it("measures CPU since the model's previous sample", async () => {
      const { pid } = await startScript("burn.mjs");
      const idle = await startScript("stubborn.mjs");
      const { monitor, registry } = await monitorOf({ Health: isOk }, pid);
      await monitor.status("m");
      const [before, since] = [kernelCpuMs(pid), performance.now()];
      await delay(1000);
      const { cpu_percent: percent } = await monitor.status("m");
      const used = (100 * (kernelCpuMs(pid) - before)) / (performance.now() - since);
      expect(Math.abs((percent ?? 0) - used)).toBeLessThan(20);
      expect(used).toBeGreaterThan(5);
      process.kill(pid, "SIGSTOP");
      await monitor.status("m");
      await delay(500);
      expect((await monitor.status("m")).cpu_percent).toBeLessThan(5);
      // Another process under the same name starts from its own beginning.
      registry.register({ name: "m", address: "127.0.0.1:1", pid: idle.pid });
      expect((await monitor.status("m")).cpu_percent).toBeGreaterThan(0);
    });

    it.skipIf(!canChoosePid)(
      "D: does not take a stranger that got the process' id for the model",
      async () => {
        const { pid, process: child } = await startScript("stubborn.mjs");
        const { monitor, registry } = await monitorOf({ Health: isOk }, pid);
        await registry.get("m");
        child.kill("SIGKILL");
        await once(child, "exit");
        await startWithPid(pid);
        await expect(monitor.status("m")).rejects.toThrow(
          `process ${pid} has ended; its id now belongs to another process`,
        );
      },
    );
  });

  it("takes no memory for none, however the host's own client says so", async () => {
    for (const memory of [undefined, null, { total: 0n, breakdown: {} }]) {
      const createClient = () => ({
        status: async () => ({ state: 2, memory }) as never,
        health: async () => true,
        free: async () => {},
        close: () => {},
      });
      const { monitor } = await monitorOf({}, undefined, { createClient });
      expect(await monitor.status("m")).toMatchObject({ state: 2, memory: { total: null, breakdown: {} } });
    }
  });

  it("is the state alone where neither the backend nor the system knows the rest", async () => {
    const { monitor } = await monitorOf({ Status: replies({ state: 2 }) });
    expect(await monitor.status("m")).toEqual({
      state: 2,
      memory: { total: null, breakdown: {} },
      memory_info: { rss: null, vms: null },
      memory_percent: null,
      cpu_percent: null,
    });
  });

  it("D: names both causes where both fail", async () => {
    const { monitor } = await monitorOf({ Health: isOk });
    const failure = monitor.status("m");
    await expect(failure).rejects.toThrow(BackendError);
    await expect(failure).rejects.toThrow(
      'model "m": its backend\'s Status call failed (UNIMPLEMENTED: Method not implemented!), and its process ' +
        "can't be sampled (no process of it can be seen on this machine)",
    );
  });

  it("does not show paths of this machine that a backend or gRPC names", async () => {
    const { monitor, registry } = await monitorOf({
      Status: fails(status.INTERNAL, 'File "/opt/models/backend.py", line 3\n  at /opt/models/x.py'),
    });
    registry.register({ name: "gone", address: "unix:/run/ebm/none.sock" });
    await expect(monitor.status("m")).rejects.toThrow("(INTERNAL: File (path), line 3)");
    await expect(monitor.status("gone")).rejects.toThrow(/connect ENOENT \(path\)/);
  });

  describe("at the same time", () => {
    /** A monitor whose backend answers when it is told to. */
    async function gatedMonitor() {
      const calls: (() => void)[] = [];
      const asked = new EventEmitter();
      const Status: Call = (call, reply) => {
        calls.push(() => hasMemory(call, reply));
        asked.emit("status");
      };
      return { calls, asked, ...(await monitorOf({ Status }, undefined, { statusTimeoutMs: 1000 })) };
    }

    it("is one call for all who ask, and a new one for whoever asks after that", async () => {
      const { monitor, calls, asked } = await gatedMonitor();
      const first = monitor.status("m");
      await once(asked, "status");
      const others = Array.from({ length: 10 }, () => monitor.status("m"));
      await Promise.resolve();
      calls.shift()?.();
      for (const answer of await Promise.all([first, ...others])) expect(answer.memory.total).toBe(300n);
      const next = monitor.status("m");
      await once(asked, "status");
      calls.shift()?.();
      await next;
      expect(calls).toEqual([]);
    });

    it("is a failure for all who ask, and no more than that", async () => {
      const { monitor, registry, asked } = await gatedMonitor();
      const failed = monitor.status("m");
      await once(asked, "status");
      const alsoFailed = monitor.status("m");
      await expect(failed).rejects.toThrow(BackendError);
      await expect(alsoFailed).rejects.toThrow(BackendError);
      const { address } = await serveBackend({ Status: hasMemory });
      registry.register({ name: "m", address });
      expect(await monitor.status("m")).toMatchObject({ state: 2 });
    });

    it("is asked of the backend that the model has now", async () => {
      const { monitor, registry, calls, asked } = await gatedMonitor();
      const before = monitor.status("m");
      await once(asked, "status");
      const { address } = await serveBackend({ Status: replies({ state: 1, memory: { total: 7 } }) });
      registry.register({ name: "m", address });
      expect(await monitor.status("m")).toMatchObject({ state: 1, memory: { total: 7n } });
      calls.shift()?.();
      expect(await before).toMatchObject({ state: 2, memory: { total: 300n } });
    });

    it("is not what was asked before the model was stopped and loaded again", async () => {
      const { monitor, registry, calls, asked } = await gatedMonitor();
      const model = await registry.get("m");
      if (!model) throw new Error("m is not registered");
      const stopped = monitor.status("m");
      await once(asked, "status");
      registry.unregister("m");
      await expect(monitor.status("m")).rejects.toThrow(ModelNotLoadedError);
      registry.register(model);
      const again = monitor.status("m");
      await once(asked, "status");
      for (const call of calls) call();
      await Promise.all([stopped, again]);
    });
  });

  it("keeps one client a model", async () => {
    const created: LoadedModel[] = [];
    const inner = grpcBackendClient();
    const createClient = (model: LoadedModel) => {
      created.push(model);
      return inner(model);
    };
    const { monitor, registry } = await monitorOf({ Status: hasMemory }, undefined, { createClient });
    await Promise.all(Array.from({ length: 10 }, () => monitor.status("m")));
    await monitor.status("m");
    expect(created).toEqual([await registry.get("m")]);
    monitor.close();
    await monitor.status("m");
    expect(created).toHaveLength(2);
  });

  it("follows a model to another address, and closes the connection to the old one", async () => {
    const closed: string[] = [];
    const inner = grpcBackendClient();
    const createClient = (model: LoadedModel) => {
      const client = inner(model);
      return {
        ...client,
        close: () => {
          closed.push(model.address);
          client.close();
        },
      };
    };
    const { monitor, registry, backend } = await monitorOf({ Status: hasMemory }, undefined, {
      createClient,
    });
    await monitor.status("m");
    const other = await serveBackend({ Status: replies({ state: 7, memory: { total: 1 } }) });
    registry.register({ name: "m", address: other.address });
    expect(await monitor.status("m")).toMatchObject({ state: 7 });
    expect(closed).toEqual([backend.address]);
    registry.unregister("m");
    await expect(monitor.status("m")).rejects.toThrow(ModelNotLoadedError);
    expect(closed).toEqual([backend.address, other.address]);
  });

  it("forgets models that are gone, though nobody asks for them any more", async () => {
    let open = 0;
    const createClient = () => {
      open++;
      return {
        status: async () => ({ state: 2, memory: { total: 1n, breakdown: {} } }),
        health: async () => true,
        free: async () => {},
        close: () => void open--,
      };
    };
    const registry = new InMemoryModelRegistry();
    const monitor = new BackendMonitor({ registry, createClient });
    for (let model = 0; model < 1000; model++) {
      registry.register({ name: `model ${model}`, address: "192.0.2.7:1" });
      await monitor.status(`model ${model}`);
      registry.unregister(`model ${model}`);
    }
    expect(open).toBeLessThan(100);
  });

  it("does not forget one that came while the registry was listing those that it had before", async () => {
    let list: (models: LoadedModel[]) => void = () => {};
    const registry: ModelRegistry = {
      get: (name) => ({ name, address: "192.0.2.7:1" }),
      list: () =>
        new Promise((resolve) => {
          list = resolve;
        }),
      shutdown: () => {},
    };
    const closed: string[] = [];
    const createClient = ({ name }: LoadedModel) => ({
      status: async () => ({ state: 2, memory: { total: 1n, breakdown: {} } }),
      health: async () => true,
      free: async () => {},
      close: () => void closed.push(name),
    });
    const monitor = new BackendMonitor({ registry, createClient });
    for (let model = 0; model < 32; model++) await monitor.status(`model ${model}`);
    await monitor.status("new");
    list([]);
    await expect.poll(() => closed).toContain("model 31");
    expect(closed).not.toContain("new");
  });
});

describe("a registry that fails", () => {
  const model = { name: "m", address: "192.0.2.7:1" };
  const registryWith = (methods: Partial<ModelRegistry>): ModelRegistry => ({
    get: () => model,
    list: () => [model],
    shutdown: () => {},
    ...methods,
  });

  it.each([
    [
      "throws",
      () => {
        throw new Error("secret");
      },
    ],
    ["rejects", () => Promise.reject(new Error("secret"))],
    ["never answers", () => new Promise<undefined>(() => {})],
    ["answers nonsense", () => ({ name: "m", port: 50051 }) as never],
    ["gives a pid that is none", () => ({ ...model, pid: -1 })],
    ["gives a start time that is none", () => ({ ...model, pid: 1, startTime: Number.NaN })],
  ])("is an internal error where it %s", async (_how, get: ModelRegistry["get"]) => {
    const monitor = new BackendMonitor({ registry: registryWith({ get }), statusTimeoutMs: 200 });
    for (const call of [monitor.status("m"), monitor.shutdown("m")]) {
      await expect(call).rejects.toThrow(InternalError);
      await expect(call).rejects.toThrow(/^the registry .*; the server's logger is told why$/);
      await expect(call).rejects.toMatchObject({ cause: expect.any(Error) });
    }
  });

  it("is an internal error where its shutdown throws", async () => {
    const shutdown = () => {
      throw new Error("secret");
    };
    const monitor = new BackendMonitor({ registry: registryWith({ shutdown }) });
    const stopping = monitor.shutdown("m", { force: true });
    await expect(stopping).rejects.toThrow(InternalError);
    await expect(stopping).rejects.toThrow(
      `the registry failed to stop model "m"; the server's logger is told why`,
    );
  });

  it("is an internal error where it still lists what it says it stopped", async () => {
    const monitor = new BackendMonitor({ registry: registryWith({}) });
    await expect(monitor.shutdown("m", { force: true })).rejects.toThrow(/is stopped, but still lists it/);
  });

  it("holds nobody up where it never lists, nor where it lists nonsense", async () => {
    for (const list of [() => new Promise<never>(() => {}), () => undefined as never]) {
      const createClient = () => ({
        status: async () => ({ state: 2, memory: { total: 1n, breakdown: {} } }),
        health: async () => true,
        free: async () => {},
        close: () => {
          throw new Error("won't close");
        },
      });
      const get = (name: string) => ({ name, address: "192.0.2.7:1" });
      const monitor = new BackendMonitor({
        registry: registryWith({ get, list }),
        createClient,
        statusTimeoutMs: 200,
      });
      for (let name = 0; name < 100; name++)
        expect(await monitor.status(`${name}`)).toMatchObject({ state: 2 });
      monitor.close();
    }
  });

  it("may give a model that goes by another name", async () => {
    const { address } = await serveBackend({ Status: hasMemory });
    const shutdowns: string[] = [];
    let isLoaded = true;
    const registry = registryWith({
      get: () => (isLoaded ? { name: "real name", address } : undefined),
      shutdown: (name) => {
        shutdowns.push(name);
        isLoaded = false;
      },
    });
    const monitor = new BackendMonitor({ registry });
    onTestFinished(() => monitor.close());
    expect(await monitor.status("alias")).toMatchObject({ state: 2 });
    await monitor.shutdown("alias");
    expect(shutdowns).toEqual(["alias"]);
  });

  it("may be synchronous", async () => {
    const models = new Map([["m", model]]);
    const registry = registryWith({
      get: (name) => models.get(name),
      shutdown: (name) => void models.delete(name),
    });
    await new BackendMonitor({ registry }).shutdown("m", { force: true });
    expect(models.size).toBe(0);
  });
});

describe.skipIf(!isLinux)("shutdown", () => {
  it("frees the model, stops the process, takes the model off the list", async () => {
    const { pid, words } = await startScript("family.mjs");
    const events: string[] = [];
    const { monitor, registry } = await monitorOf(
      {
        Status: hasMemory,
        Free: (call, reply) => {
          events.push(`freed while running: ${isRunning(pid)}`);
          frees(call, reply);
        },
      },
      pid,
    );
    await monitor.shutdown("m");
    expect(events).toEqual(["freed while running: true"]);
    expect(words.map(Number).filter(isRunning)).toEqual([]);
    expect(await registry.list()).toEqual([]);
    await expect(monitor.status("m")).rejects.toThrow('model "m" is not loaded');
    await expect(monitor.shutdown("m")).rejects.toThrow(ModelNotLoadedError);
  });

  it.each([
    ["has no Free", {}],
    ["fails in Free", { Free: fails(status.INTERNAL, "boom") }],
    ["never answers", { Status: neverReplies, Free: neverReplies }],
  ])("stops a backend that %s", async (_what, calls) => {
    const { pid } = await startScript("stubborn.mjs", ["mortal"]);
    const { monitor } = await monitorOf(calls as BackendCalls, pid, {
      statusTimeoutMs: 200,
      freeTimeoutMs: 200,
      terminateTimeoutMs: 200,
    });
    await monitor.shutdown("m");
    expect(isRunning(pid)).toBe(false);
  });

  it("waits for a busy backend to be idle", async () => {
    const { pid } = await startScript("family.mjs");
    let isBusy = true;
    let asked = 0;
    const Status: Call = (call, reply) => {
      asked++;
      (isBusy ? busy : hasMemory)(call, reply);
    };
    const { monitor } = await monitorOf({ Status, Free: frees }, pid);
    const stopping = monitor.shutdown("m");
    await expect.poll(() => asked).toBeGreaterThan(2);
    expect(isRunning(pid)).toBe(true);
    isBusy = false;
    await stopping;
    expect(isRunning(pid)).toBe(false);
  });

  it("stops nothing where the backend is still busy after the drain time", async () => {
    const { pid } = await startScript("family.mjs");
    let freed = false;
    const Free = () => {
      freed = true;
    };
    const { monitor, registry } = await monitorOf({ Status: busy, Free }, pid, { drainTimeoutMs: 300 });
    const stopping = monitor.shutdown("m");
    await expect(stopping).rejects.toThrow(ModelBusyError);
    await expect(stopping).rejects.toThrow(
      'model "m" is still busy after 300 ms and was not stopped; try again later, or send "force": true',
    );
    expect(freed).toBe(false);
    expect(isRunning(pid)).toBe(true);
    expect(await registry.list()).toHaveLength(1);
    expect(await monitor.status("m")).toMatchObject({ state: 1 });
  });

  it("waits where the registry says that the model is busy", async () => {
    const backend = await serveBackend({ Status: hasMemory, Free: frees });
    let isBusy = true;
    let model: LoadedModel | undefined;
    const registry: ModelRegistry = {
      get: () => model && { ...model, busy: isBusy },
      list: () => [],
      shutdown: () => {
        model = undefined;
      },
    };
    model = { name: "m", address: backend.address };
    const monitor = new BackendMonitor({ registry, drainTimeoutMs: 200 });
    onTestFinished(() => monitor.close());
    await expect(monitor.shutdown("m")).rejects.toThrow(ModelBusyError);
    isBusy = false;
    await monitor.shutdown("m");
    expect(model).toBeUndefined();
  });

  it("with force neither waits nor frees", async () => {
    const { pid } = await startScript("family.mjs");
    let freed = false;
    const Free = () => {
      freed = true;
    };
    const { monitor } = await monitorOf({ Status: busy, Free }, pid);
    await monitor.shutdown("m", { force: true });
    expect(freed).toBe(false);
    expect(isRunning(pid)).toBe(false);
  });

  describe("of a model that is not listed", () => {
    const unlisted: ModelRegistry = {
      get: () => undefined,
      list: () => [],
      shutdown: () => {
        throw new Error("a registry is not told to stop what it does not list");
      },
    };

    it("is an error, and of no concern to a registry that starts nothing", async () => {
      const monitor = new BackendMonitor({ registry: unlisted });
      await expect(monitor.shutdown("m")).rejects.toThrow(ModelNotLoadedError);
    });

    it("cancels the start of it where the registry starts models", async () => {
      const cancelled: unknown[] = [];
      const cancelStart = (...given: unknown[]) => void cancelled.push(given);
      const monitor = new BackendMonitor({ registry: { ...unlisted, cancelStart }, terminateTimeoutMs: 70 });
      await expect(monitor.shutdown("m", { force: true })).rejects.toThrow(ModelNotLoadedError);
      expect(cancelled).toEqual([["m", { force: true, timeoutMs: 70, signal: expect.any(AbortSignal) }]]);
      await expect(monitor.status("m")).rejects.toThrow(ModelNotLoadedError);
      expect(cancelled).toHaveLength(1);
    });

    it("cancels nothing of a model that is listed, and busy", async () => {
      const backend = await serveBackend({ Status: busy });
      let stopped = 0;
      const registry: ModelRegistry = {
        get: () => ({ name: "m", address: backend.address }),
        list: () => [],
        shutdown: () => void stopped++,
        cancelStart: () => void stopped++,
      };
      const monitor = new BackendMonitor({ registry, drainTimeoutMs: 100 });
      onTestFinished(() => monitor.close());
      await expect(monitor.shutdown("m")).rejects.toThrow(ModelBusyError);
      expect(stopped).toBe(0);
    });

    it("says so where something of it can't be stopped", async () => {
      const cancelStart = () => terminateProcessTree(process.pid);
      const monitor = new BackendMonitor({ registry: { ...unlisted, cancelStart } });
      await expect(monitor.shutdown("m")).rejects.toThrow(
        /^model "m" could not be stopped; this is the server itself/,
      );
    });

    it("holds as well where it goes while the shutdown waits for it to be idle", async () => {
      const backend = await serveBackend({ Status: busy });
      let asked = 0;
      let cancelled = 0;
      const registry: ModelRegistry = {
        ...unlisted,
        get: () => (asked++ < 2 ? { name: "m", address: backend.address } : undefined),
        cancelStart: () => {
          cancelled++;
        },
      };
      await expect(new BackendMonitor({ registry }).shutdown("m")).rejects.toThrow(ModelNotLoadedError);
      expect(cancelled).toBe(1);
    });
  });

  it("is one for all who ask at the same time, and is hurried by one who forces it", async () => {
    const { pid } = await startScript("family.mjs");
    const { monitor, registry } = await monitorOf({ Status: busy }, pid);
    const stops: (Partial<RegistryShutdownOptions> | undefined)[] = [];
    const shutdown = registry.shutdown.bind(registry);
    registry.shutdown = (name, options) => {
      stops.push(options);
      return shutdown(name, options);
    };
    const both = [monitor.shutdown("m"), monitor.shutdown("m")];
    await delay(200);
    expect(stops).toEqual([]);
    await Promise.all([...both, monitor.shutdown("m", { force: true })]);
    expect(stops).toMatchObject([{ force: true, timeoutMs: 10_000 }]);
    expect(isRunning(pid)).toBe(false);
  });

  it("is hurried also while a backend does not say whether it is busy", async () => {
    const { pid } = await startScript("family.mjs");
    const calls = new EventEmitter();
    const Status: Call = () => void calls.emit("status");
    const { monitor } = await monitorOf({ Status, Free: neverReplies }, pid, {
      statusTimeoutMs: 60_000,
      freeTimeoutMs: 60_000,
    });
    const asked = once(calls, "status");
    const stopping = monitor.shutdown("m");
    await asked;
    await monitor.shutdown("m", { force: true });
    await stopping;
    expect(isRunning(pid)).toBe(false);
  });

  it("is not too late to be hurried when the drain time is just over", async () => {
    const { pid } = await startScript("family.mjs");
    const asked = new EventEmitter();
    let answer = () => {};
    const Status: Call = (call, reply) => {
      answer = () => busy(call, reply);
      asked.emit("asked");
    };
    const { monitor } = await monitorOf({ Status }, pid, { drainTimeoutMs: 0 });
    const firstAsked = once(asked, "asked");
    const stopping = monitor.shutdown("m");
    await firstAsked;
    const forced = monitor.shutdown("m", { force: true });
    answer();
    await Promise.all([stopping, forced]);
    expect(isRunning(pid)).toBe(false);
  });

  it("is hurried also while the backend frees the model, though its client takes no notice", async () => {
    const { pid } = await startScript("family.mjs");
    const calls = new EventEmitter();
    const createClient = () => ({
      status: async () => ({ state: 2 }),
      health: async () => true,
      free: () => {
        calls.emit("free");
        return new Promise<void>(() => {});
      },
      close: () => {},
    });
    const { monitor } = await monitorOf({}, pid, { createClient, freeTimeoutMs: 60_000 });
    const freeing = once(calls, "free");
    const stopping = monitor.shutdown("m");
    await freeing;
    await Promise.all([stopping, monitor.shutdown("m", { force: true })]);
    expect(isRunning(pid)).toBe(false);
  });

  it("takes a backend that said it was busy, and then nothing any more, for busy still", async () => {
    const { pid } = await startScript("family.mjs");
    let asked = 0;
    const Status: Call = (call, reply) => {
      if (asked++ === 0) busy(call, reply);
    };
    const { monitor } = await monitorOf({ Status }, pid, { statusTimeoutMs: 200, drainTimeoutMs: 400 });
    await expect(monitor.shutdown("m")).rejects.toThrow(ModelBusyError);
    expect(isRunning(pid)).toBe(true);
  });

  it("closes the connection to the backend", async () => {
    const { pid } = await startScript("family.mjs");
    let open = 0;
    const inner = grpcBackendClient();
    const createClient = (model: LoadedModel) => {
      const client = inner(model);
      open++;
      return {
        ...client,
        close: () => {
          open--;
          client.close();
        },
      };
    };
    const { monitor } = await monitorOf({ Status: hasMemory, Free: frees }, pid, { createClient });
    await monitor.status("m");
    expect(open).toBe(1);
    await monitor.shutdown("m");
    expect(open).toBe(0);
  });

  it("does not let a status that is under way connect to the backend again", async () => {
    const { pid } = await startScript("family.mjs");
    const asked = new EventEmitter();
    let answer = () => {};
    const Status: Call = (call, reply) => {
      answer = () => fails(status.UNIMPLEMENTED, "no")(call, reply);
      asked.emit("asked");
    };
    const created: LoadedModel[] = [];
    const inner = grpcBackendClient();
    const createClient = (model: LoadedModel) => {
      created.push(model);
      return inner(model);
    };
    const { monitor } = await monitorOf({ Status, Health: isOk }, pid, { createClient });
    const firstAsked = once(asked, "asked");
    const answered = monitor.status("m").catch((error) => error);
    await firstAsked;
    await monitor.shutdown("m", { force: true });
    answer();
    expect(await answered).toBeInstanceOf(BackendError);
    expect(created).toHaveLength(1);
  });

  it("shares a failure too, and may be tried again", async () => {
    const { pid } = await startScript("family.mjs");
    let isBusy = true;
    const { monitor } = await monitorOf(
      { Status: (call, reply) => (isBusy ? busy : hasMemory)(call, reply), Free: frees },
      pid,
      { drainTimeoutMs: 200 },
    );
    const both = await Promise.allSettled([monitor.shutdown("m"), monitor.shutdown("m")]);
    expect(both.map(({ status: outcome }) => outcome)).toEqual(["rejected", "rejected"]);
    isBusy = false;
    await monitor.shutdown("m");
    expect(isRunning(pid)).toBe(false);
  });

  it("leaves other models alone", async () => {
    const [one, other] = [await startScript("family.mjs"), await startScript("family.mjs")];
    const { monitor, registry } = await monitorOf({ Free: frees }, one.pid);
    registry.register({ name: "other", address: `127.0.0.1:${await freePort()}`, pid: other.pid });
    await monitor.shutdown("m");
    expect(other.words.map(Number).every(isRunning)).toBe(true);
    expect(await registry.list()).toMatchObject([{ name: "other" }]);
  });

  it("takes a model off the list whose process is gone already", async () => {
    const { pid, process: child } = await startScript("stubborn.mjs");
    const { monitor, registry } = await monitorOf({}, pid);
    await registry.get("m");
    child.kill("SIGKILL");
    await hasEnded(pid);
    await monitor.shutdown("m");
    expect(await registry.list()).toEqual([]);
  });

  it("says which processes can't be stopped, and keeps the model listed", async () => {
    const { monitor, registry } = await monitorOf({ Free: frees }, process.pid);
    const stopping = monitor.shutdown("m");
    await expect(stopping).rejects.toThrow(BackendError);
    await expect(stopping).rejects.toThrow(
      /^model "m" could not be stopped; this is the server itself.*: \d+ \("/,
    );
    expect(await registry.list()).toHaveLength(1);
  });

  it("says so where the model can't be stopped from here", async () => {
    const { monitor } = await monitorOf({ Free: frees });
    await expect(monitor.shutdown("m")).rejects.toThrow(
      'model "m" can\'t be stopped: no process of it can be seen on this machine; register the model with the pid ' +
        "of one that can, or with a stop hook",
    );
  });
});

describe("options", () => {
  const registry = new InMemoryModelRegistry();
  it.each([
    [undefined, /BackendMonitor takes an object of options, got undefined/],
    [{}, /option "registry" takes an object with get\(\), list\(\), shutdown\(\), got undefined/],
    [{ registry: new Map() }, /option "registry" takes .*, got an object/],
    [
      { registry, createClient: {} },
      /option "createClient" takes a function of one argument, .*, got an object/,
    ],
    [{ registry, statusTimeoutMs: "2s" }, /option "statusTimeoutMs" takes a whole number of milliseconds/],
    [{ registry, drainTimeoutMs: -1 }, /option "drainTimeoutMs" .* got the number -1/],
    [{ registry, freeTimeoutMs: Number.NaN }, /option "freeTimeoutMs"/],
    [{ registry, terminateTimeoutMs: 2 ** 31 }, /option "terminateTimeoutMs"/],
    [
      { registry, timeout: 5 },
      /no option "timeout"; its options are registry, createClient, statusTimeoutMs/,
    ],
  ])("refuses %j", (options, message) => {
    const create = () => new BackendMonitor(options as BackendMonitorOptions);
    expect(create).toThrow(TypeError);
    expect(create).toThrow(message);
  });
});
