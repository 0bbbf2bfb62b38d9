import { type AddressInfo, createConnection, type Socket } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { BackendError } from "../../lib/index.js";
import { CountingRegistry, load, MOUNT, serveDashboard } from "../support/dashboard.js";
import { EventStreamParser } from "../support/event-source.js";
import { type Call, serveBackend } from "../support/grpc.js";

describe("a viewer that does not read", () => {
  it("is dropped, while another one goes on, and may come back", async () => {
    const registry = new CountingRegistry();
    let samples = 0;
    const Status: Call = (_call, reply) =>
      reply(null, {
        state: 2,
        memory: { total: "1", breakdown: { [`${samples++ % 10}`.repeat(2 ** 20)]: "1" } },
      });
    const { address } = await serveBackend({ Status });
    registry.models.set("m", { name: "m", address });
    const { view, server } = await serveDashboard({ registry });
    const waiting: number[] = [];
    const sockets: Socket[] = [];
    server.on("connection", (socket) => sockets.push(socket));
    const { port } = server.address() as AddressInfo;
    const slow = createConnection(port, "127.0.0.1").pause();
    onTestFinished(() => void slow.destroy());
    slow.write(`GET ${MOUNT}/api/events HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await expect.poll(() => sockets.length).toBe(1);
    const quick = await view();
    while (sockets[0]?.destroyed === false) {
      await quick.next();
      waiting.push(sockets[0].writableLength);
    }
    // One more than what may wait, as it was written in one piece.
    expect(Math.max(...waiting)).toBeLessThan(2 ** 20 + 2 ** 21);
    const dropped = quick.events.length;
    await quick.next("change");
    await quick.next("change");
    expect(quick.events.length).toBeGreaterThan(dropped);
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, false]);
    const isBack = await view(quick.events[0]?.id);
    expect((await isBack.next()).event).toBe("snapshot");
  });
});

describe("what others said", () => {
  const NASTY = "a\r\nb\n\nevent: snapshot\ndata: {}\n\n\u2028\u2029\0</script>";

  it("stays within its event", async () => {
    const registry = new CountingRegistry();
    const names = ["__proto__", "constructor", "<img src=x onerror=alert(1)>", "🦙 \u202e\ud800", NASTY];
    await load(registry, ...names);
    registry.shutdown = () => {
      throw new BackendError(NASTY);
    };
    const { view, monitor } = await serveDashboard({ registry });
    const viewer = await view();
    expect((await viewer.next("snapshot")).data.models.map(({ name }) => name)).toEqual(names);
    for (const name of names) {
      await expect(monitor.shutdown(name, { force: true })).rejects.toThrow(BackendError);
      expect((await viewer.next("shutdown")).data).toEqual({ model: name, phase: "terminating" });
      expect((await viewer.next("shutdown")).data).toEqual({
        model: name,
        phase: "failed",
        error: { code: 500, type: "backend_error", message: NASTY },
      });
    }
    for (const name of names) registry.models.delete(name);
    await expect.poll(() => viewer.models.size).toBe(0);
    const kinds = new Set(viewer.events.map(({ event }) => event));
    expect([...kinds].sort()).toEqual(["change", "shutdown", "snapshot"]);
    expect(viewer.events.filter(({ event }) => event === "snapshot")).toHaveLength(1);
  });
});

describe("the tests' parser of events", () => {
  it("reads a stream as the HTML standard has it, however it is cut", () => {
    const text =
      ": comment\nretry: 10\n\nid: 1\r\nevent: a\r\ndata: one\r\ndata:two\r\n\r\nid\rdata:  three\r\revent: lost\n\ndata\n\ndata: cut";
    const events = [
      { id: "1", event: "a", data: "one\ntwo" },
      { id: "", event: "message", data: " three" },
      { id: "", event: "message", data: "" },
    ];
    for (let size = 1; size <= text.length; size++) {
      const parser = new EventStreamParser();
      const pieces = text.match(new RegExp(`.{1,${size}}`, "gs")) ?? [];
      expect(pieces.flatMap((piece) => parser.read(piece))).toEqual(events);
      expect(parser.retry).toBe(10);
    }
  });
});
