import { once } from "node:events";
import { Agent, get, IncomingMessage, request, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { availableParallelism, totalmem } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import compression from "compression";
import express, { type NextFunction, type Response } from "express";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Feed } from "../../lib/dashboard/feed.js";
import { History } from "../../lib/dashboard/history.js";
import { createDashboardRouter } from "../../lib/dashboard/index.js";
import { BackendMonitor, type LoadedModel } from "../../lib/index.js";
import {
  CountingRegistry,
  INTERVAL_MS,
  isLeft,
  load,
  serveApp,
  serveDashboard,
  someSamplesLater,
} from "../support/dashboard.js";
import { view } from "../support/event-source.js";
import { warningsOfProcess } from "../support/supervisor.js";

describe("GET api/events", () => {
  it("tells of a model that is stopped and loaded again before anybody looked", async () => {
    const registry = new CountingRegistry();
    await load(registry, "a");
    const { view, monitor } = await serveDashboard({ registry });
    const viewer = await view();
    const [a] = (await viewer.next("snapshot")).data.models;
    const model = registry.models.get("a") as LoadedModel;
    monitor.on("shutdown", ({ phase }) => phase === "stopped" && registry.models.set("a", model));
    await monitor.shutdown("a", { force: true });
    for (let isTold = false; !isTold; ) {
      const { data } = await viewer.next("change");
      isTold = data.changed.length > 0;
      if (isTold) expect(data.changed).toEqual([a]);
    }
  });

  it("begins for who comes after a shutdown without the model, though no sample was taken since", async () => {
    const registry = new CountingRegistry();
    await load(registry, "a", "b");
    const { view, monitor } = await serveDashboard({ registry, sampleIntervalMs: 60_000 });
    const first = await view();
    await first.next("snapshot");
    await monitor.shutdown("a", { force: true });
    await expect.poll(() => first.events.at(-1)?.data).toMatchObject({ model: "a", phase: "stopped" });
    const { data } = await (await view()).next("snapshot");
    expect(data.models.map(({ name }) => name)).toEqual(["b"]);
    expect(registry.lists).toBe(1);
  });

  it("begins with a snapshot, and tells of each sample from then on", async () => {
    const registry = new CountingRegistry();
    const report = await load(registry, "a", "b");
    const { view, send } = await serveDashboard({ registry });
    const viewer = await view();
    const snapshot = await viewer.next("snapshot");
    expect(viewer.events[0]).toBe(snapshot);
    expect(viewer.headers).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    });
    expect(viewer.parser.retry).toBe(1_000);
    const a = {
      name: "a",
      address: registry.models.get("a")?.address,
      pid: null,
      loaded_since: null,
      status: { state: 2, memory: { total: 300, breakdown: {} } },
      process: null,
      shutdown: null,
    };
    expect(snapshot).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{16}-\d+$/),
      event: "snapshot",
      data: {
        at: expect.any(Number),
        models: [a, { ...a, name: "b" }],
        machine: { memory: totalmem(), cores: availableParallelism() },
        interval_ms: INTERVAL_MS,
        logs: false,
      },
    });
    expect(Math.abs(snapshot.data.at - Date.now())).toBeLessThan(60_000);
    expect((await send("/api/backends")).json).toEqual({ ...snapshot.data, at: expect.any(Number) });

    expect(await viewer.next()).toMatchObject({ event: "change", data: { changed: [], gone: [] } });
    report(400);
    const b = registry.models.get("b") as LoadedModel;
    registry.models.delete("b");
    const changed = { ...a, status: { state: 2, memory: { total: 400, breakdown: {} } } };
    await expect.poll(() => viewer.models).toEqual(new Map([["a", changed]]));
    registry.models.set("c", { ...b, name: "c" });
    await expect.poll(() => [...viewer.models.keys()]).toEqual(["a", "c"]);
    // What has not changed was not told again: a twice, b with the snapshot and c once.
    const told = viewer.events.flatMap(({ event, data }) => (event === "change" ? data.changed : []));
    expect(told.map(({ name }) => name)).toEqual(["a", "c"]);
    const gone = viewer.events.flatMap(({ event, data }) => (event === "change" ? data.gone : []));
    expect(gone).toEqual(["b"]);
  });

  it("is one loop for all viewers, with one sample at a time", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    // Some samples take longer than it is to the next.
    registry.before = () => delay(registry.lists % 2 === 0 ? 3 * INTERVAL_MS : 0);
    const { view } = await serveDashboard({ registry });
    const [one, other] = await Promise.all([view(), view()]);
    const first = await one.next("snapshot");
    expect(await other.next("snapshot")).toEqual(first);
    const { lists } = registry;
    for (let changes = 0; changes < 6; changes++) {
      const change = await one.next("change");
      expect(await other.next("change")).toEqual(change);
      expect(numberOf(change.id)).toBe(numberOf(first.id) + 1 + changes);
    }
    // The next may be under way.
    expect(registry.lists - lists).toBeLessThanOrEqual(7);
    expect(registry.atOnce).toBe(1);
  });

  it("takes no sample without a viewer", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    const { view, server, send } = await serveDashboard({ registry });
    await send("/");
    await someSamplesLater();
    expect(registry.lists).toBe(0);

    const [first, last] = [await view(), await view()];
    await first.next("change");
    first.leave();
    await last.next("change");
    await last.next("change");
    last.leave();
    await isLeft(server);
    const { lists } = registry;
    await someSamplesLater();
    // One may have been under way.
    expect(registry.lists - lists).toBeLessThanOrEqual(1);
    await (await view()).next("change");
  });

  it("begins with what the last sample came to, as long as that is no older than an interval", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    const { view, server } = await serveDashboard({ registry, sampleIntervalMs: 60_000 });
    const first = await view();
    const { data, id } = await first.next("snapshot");
    expect(await (await view()).next("snapshot")).toMatchObject({ id, data });
    first.leave();
    expect(await (await view()).next("snapshot")).toMatchObject({ id, data });
    expect(registry.lists).toBe(1);

    const often = await serveDashboard({ registry });
    const before = await often.view();
    const { at } = (await before.next("snapshot")).data;
    before.leave();
    await isLeft(often.server);
    await someSamplesLater();
    expect((await (await often.view()).next("snapshot")).data.at).toBeGreaterThan(at);
    server.closeAllConnections();
  });

  it("answers HEAD with the headers, and takes no sample for it", async () => {
    const registry = new CountingRegistry();
    const { send, url } = await serveDashboard({ registry });
    const { status, headers, text } = await send("/api/events", { method: "HEAD" });
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("text/event-stream; charset=utf-8");
    expect(text).toBe("");
    // The next request on the connection has its turn at once: it is at its end.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    for (const method of ["HEAD", "HEAD"]) {
      const [res] = await once(request(`${url}/api/events`, { method, agent }).end(), "response");
      await once(res.resume(), "end");
    }
    await someSamplesLater();
    expect(registry.lists).toBe(0);
  });

  it("goes through compression as it is, event by event", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    const { url } = await serveDashboard({ registry }, compression({ threshold: 0, filter: () => true }));
    const viewer = await view(`${url}/api/events`, { "accept-encoding": "gzip, br" });
    await viewer.next("snapshot");
    await viewer.next("change");
    expect(viewer.headers).not.toHaveProperty("content-encoding");
  });

  it("begins no loop for who left while a guard thought about it", async () => {
    const registry = new CountingRegistry();
    let letPass: NextFunction | undefined;
    const authorize = (_req: unknown, _res: unknown, next: NextFunction) => {
      letPass = next;
    };
    const { url, server } = await serveDashboard({ registry, authorize });
    const looking = get(`${url}/api/events`).on("error", () => {});
    await expect.poll(() => letPass).toBeDefined();
    looking.destroy();
    await isLeft(server);
    letPass?.();
    await someSamplesLater();
    expect(registry.lists).toBe(0);
  });

  it("has one listener a router on the monitor, and none where nobody has ever looked", async () => {
    const warnings = warningsOfProcess();
    const monitor = new BackendMonitor({ registry: new CountingRegistry() });
    const app = express();
    const paths = Array.from({ length: 12 }, (_, number) => `/${number}`);
    for (const path of paths) app.use(path, createDashboardRouter({ monitor }));
    const { origin } = await serveApp(app);
    expect(monitor.eventNames()).toEqual([]);
    for (const path of [...paths, ...paths]) await (await view(`${origin}${path}/api/events`)).next();
    expect(monitor.listenerCount("shutdown")).toBe(12);
    expect(warnings).toEqual([]);
    // What the host itself leaks still shows.
    expect(monitor.getMaxListeners() - monitor.listenerCount("shutdown")).toBe(10);
  });
});

describe("the loop", () => {
  /** A loop that takes a sample each 100 ms, with a viewer who can leave; a sample takes `sampleMs`. */
  function startLoop(sampleMs: number) {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"], now: 0 });
    onTestFinished(() => void vi.useRealTimers());
    const registry = new CountingRegistry();
    const begun: number[] = [];
    registry.before = () => {
      begun.push(performance.now());
      return new Promise<void>((resolve) => setTimeout(resolve, sampleMs));
    };
    const feed = new Feed(new BackendMonitor({ registry }), new History(), 100);
    const res = new ServerResponse(new IncomingMessage(new Socket())) as Response;
    feed.show(res, undefined);
    return { begun, leave: () => res.emit("close") };
  }

  it.each([
    ["an interval after the last one began", 80, [0, 100, 200, 300]],
    // A timer takes a millisecond at least.
    ["not before the last one has ended", 149, [0, 150, 300, 450]],
  ])("begins the next sample %s", async (_what, sampleMs, expected) => {
    const { begun } = startLoop(sampleMs);
    await vi.advanceTimersByTimeAsync(460);
    expect(begun.slice(0, 4).map((time) => time - Number(begun[0]))).toEqual(expected);
  });

  it.each([
    ["between two samples", 175, 0],
    // That of the sample itself, and that of its deadline.
    ["in the middle of a sample", 225, 2],
  ])("leaves nothing when the last viewer leaves %s", async (_what, at, timers) => {
    const { begun, leave } = startLoop(50);
    await vi.advanceTimersByTimeAsync(at);
    const samples = begun.length;
    leave();
    expect(vi.getTimerCount()).toBe(timers);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(vi.getTimerCount()).toBe(0);
    expect(begun).toHaveLength(samples);
  });
});

function numberOf(id: string): number {
  return Number(id.split("-")[1]);
}
