import { describe, expect, it } from "vitest";
import { CountingRegistry, load, serveDashboard } from "../support/dashboard.js";
import { type Call, serveBackend } from "../support/grpc.js";

const TROUBLE = {
  error: {
    code: 500,
    type: "internal_error",
    message: "the registry failed to list its models; the server's logger is told why",
  },
};

/** What a logger was told is wrong. */
function errorLog() {
  const errors: string[] = [];
  return { errors, logger: { info: () => {}, error: (message: string) => errors.push(message) } };
}

describe("a registry that fails", () => {
  it("is told of once, and the stream goes on when it works again", async () => {
    const registry = new CountingRegistry();
    const report = await load(registry, "m");
    const { errors, logger } = errorLog();
    const { view } = await serveDashboard({ registry, logger });
    const viewer = await view();
    await viewer.next("change");
    for (const time of ["first", "second"]) {
      registry.before = () => Promise.reject(new Error(`the ${time} failure`));
      expect((await viewer.next("trouble")).data).toEqual(TROUBLE);
      const { lists } = registry;
      await expect.poll(() => registry.lists).toBeGreaterThan(lists + 2);
      report(lists);
      registry.before = () => {};
      const change = await viewer.next();
      expect(change).toMatchObject({ event: "change", data: { changed: [{ name: "m" }] } });
    }
    await viewer.next("change");
    expect(viewer.events.filter(({ event }) => event === "trouble")).toHaveLength(2);
    expect(errors).toHaveLength(2);
    expect(errors[0]).toContain("the first failure");
    expect(errors[1]).toContain("the second failure");
  });

  it("is told of to who comes meanwhile, who gets a snapshot once there is one", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    registry.before = () => {
      throw new Error("fails");
    };
    const { view } = await serveDashboard({ registry });
    const first = await view();
    const { id, data } = await first.next("trouble");
    expect(data).toEqual(TROUBLE);
    const second = await view();
    expect(await second.next("trouble")).toEqual({ id, event: "trouble", data: TROUBLE });
    // It has seen no snapshot, and is not taken for one that has.
    const isBack = await view(id);
    expect((await isBack.next()).event).toBe("trouble");
    registry.before = () => {};
    for (const viewer of [first, second, isBack]) {
      expect((await viewer.next()).event).toBe("snapshot");
      expect((await viewer.next()).event).toBe("change");
    }
  });
});

describe("a backend that hangs", () => {
  it("does not hold up what the others cost", async () => {
    const registry = new CountingRegistry();
    const report = await load(registry, "quick");
    let asked = 0;
    // It said something once. To wait for it would take longer than this test may.
    const Status: Call = (_call, reply) => {
      asked++;
      if (asked === 1) reply(null, { state: 2, memory: { total: "7", breakdown: {} } });
    };
    const { address } = await serveBackend({ Status });
    registry.models.set("hangs", { name: "hangs", address });
    const { view } = await serveDashboard({ registry, statusTimeoutMs: 60_000 });
    const viewer = await view();
    await viewer.next("snapshot");
    await expect.poll(() => asked).toBe(2);
    for (let bytes = 1_000; bytes < 1_003; bytes++) {
      report(bytes);
      await expect
        .poll(() => viewer.models.get("quick"))
        .toMatchObject({ status: { memory: { total: bytes } } });
    }
    expect(viewer.models.get("hangs")).toMatchObject({ status: { state: 2, memory: { total: 7 } } });
    expect(asked).toBe(2);
  });
});
