import { describe, expect, it, onTestFinished, vi } from "vitest";
import { RecentEvents } from "../../lib/dashboard/recent-events.js";
import { CountingRegistry, isLeft, load, serveDashboard, someSamplesLater } from "../support/dashboard.js";
import { EventStreamParser, modelsOf } from "../support/event-source.js";
import { serveBackend } from "../support/grpc.js";

describe("a viewer that comes back", () => {
  it("is sent what it has missed, and knows then what one knows that stayed", async () => {
    const registry = new CountingRegistry();
    const report = await load(registry, "a", "b", "c");
    const { view } = await serveDashboard({ registry });
    const stays = await view();
    const leaves = await view();
    await leaves.next("change");
    leaves.leave();
    const { lastId } = leaves;
    for (let bytes = 1; bytes <= 4; bytes++) {
      report(bytes);
      registry.models.delete(["a", "b"][bytes] ?? "");
      await expect.poll(() => stays.models.get("c")).toMatchObject({ status: { memory: { total: bytes } } });
    }

    const isBack = await view(lastId);
    await isBack.next("change");
    await isBack.next("change");
    report(9);
    for (const viewer of [stays, isBack]) {
      await expect.poll(() => viewer.models.get("c")).toMatchObject({ status: { memory: { total: 9 } } });
    }
    expect(isBack.events.map(({ event }) => event)).not.toContain("snapshot");
    const seen = [...leaves.events, ...isBack.events];
    // Not one is missing, and none has come twice.
    expect(seen).toEqual(stays.events.slice(0, seen.length));
    expect(modelsOf(seen)).toEqual(stays.models);
    expect([...stays.models.keys()]).toEqual(["a", "c"]);
  });

  it("has missed nothing while nobody looked but what the next change says", async () => {
    const registry = new CountingRegistry();
    const report = await load(registry, "a", "b");
    const { view, server } = await serveDashboard({ registry });
    const leaves = await view();
    await leaves.next("change");
    leaves.leave();
    await isLeft(server);
    await someSamplesLater();
    report(400);
    registry.models.delete("b");

    const isBack = await view(leaves.lastId);
    await isBack.next();
    expect(isBack.events[0]?.event).toBe("change");
    await expect
      .poll(() => modelsOf([...leaves.events, ...isBack.events]))
      .toMatchObject(new Map([["a", { status: { memory: { total: 400 } } }]]));
    expect(isBack.events.map(({ event }) => event)).not.toContain("snapshot");
  });

  it("is told how a shutdown ended while nobody looked", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    const { view, server, send, monitor } = await serveDashboard({ registry });
    const leaves = await view();
    await leaves.next("change");
    leaves.leave();
    await isLeft(server);
    await monitor.shutdown("m", { force: true });
    const isBack = await view(leaves.lastId);
    expect((await isBack.next("shutdown")).data).toEqual({ model: "m", phase: "terminating" });
    expect((await isBack.next("shutdown")).data).toEqual({ model: "m", phase: "stopped" });
    expect((await isBack.next("change")).data.gone).toEqual(["m"]);
    expect((await send("/api/backends")).json.models).toEqual([]);
  });

  it.each([
    ["of another router", "0123456789abcdef-2"],
    ["that is none", "<script>"],
    ["of events that are to come", "BOOT-999"],
    ["with more behind it", "BOOT-2-1"],
    ["with a sign", "BOOT-+2"],
    ["that nobody has", "BOOT-0"],
    ["that is empty", ""],
  ])("gets a snapshot for an id %s", async (_what, id) => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    const { view } = await serveDashboard({ registry });
    const viewer = await view();
    await viewer.next("change");
    const boot = viewer.lastId.split("-")[0] ?? "";
    expect((await (await view(id.replace("BOOT", boot))).next()).event).toBe("snapshot");
    expect((await (await view(viewer.lastId)).next()).event).toBe("change");
  });

  it("gets a snapshot where more was told than is kept", async () => {
    const registry = new CountingRegistry();
    let samples = 0;
    const { address } = await serveBackend({
      // Each sample is another third of what is kept.
      Status: (_call, reply) =>
        reply(null, {
          state: 2,
          memory: { total: "1", breakdown: { [`${samples++}`.repeat(350_000)]: "1" } },
        }),
    });
    registry.models.set("m", { name: "m", address });
    const { view } = await serveDashboard({ registry });
    const stays = await view();
    const ids = [(await stays.next("snapshot")).id];
    for (let changes = 0; changes < 4; changes++) ids.push((await stays.next("change")).id);
    expect((await (await view(ids[0])).next()).event).toBe("snapshot");
    const isBack = await view(ids[3]);
    expect((await isBack.next()).id).toBe(ids[4]);
  });
});

describe("what was told", () => {
  const read = (text: Buffer | undefined) => text && new EventStreamParser().read(text.toString());

  it("is kept for a minute", () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const events = new RecentEvents();
    const before = events.lastId;
    events.add("change", "1");
    const between = events.lastId;
    vi.advanceTimersByTime(40_000);
    events.add("change", "2");
    const last = events.lastId;
    expect(read(events.since(before))).toEqual([
      { id: between, event: "change", data: "1" },
      { id: last, event: "change", data: "2" },
    ]);
    vi.advanceTimersByTime(20_001);
    expect(events.since(before)).toBeUndefined();
    expect(read(events.since(between))).toEqual([{ id: last, event: "change", data: "2" }]);
    vi.advanceTimersByTime(3_600_000);
    // Nothing was told since.
    expect(read(events.since(last))).toEqual([]);
  });

  it("is kept up to 1 MiB", () => {
    const events = new RecentEvents();
    const before = events.lastId;
    // A quarter each, with what is around it.
    const json = JSON.stringify("x".repeat(2 ** 18 - 100));
    for (let quarter = 0; quarter < 4; quarter++) events.add("change", json);
    expect(read(events.since(before))).toHaveLength(4);
    for (let quarter = 0; quarter < 5; quarter++) {
      const seen = events.lastId;
      events.add("change", json);
      expect(events.since(before)).toBeUndefined();
      expect(read(events.since(seen))).toHaveLength(1);
    }
  });
});
