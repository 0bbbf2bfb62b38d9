import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { undisturbed } from "../support/faults.js";

describe("a backend that accepts connections and then says nothing", () => {
  it("is given up at its deadline", async () => {
    await undisturbed(async ({ models, pid, monitor }) => {
      const sockets: Socket[] = [];
      const server = createServer((socket) => sockets.push(socket)).listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      models.register({ name: "silent", address: `127.0.0.1:${port}`, pid });
      const { status, json } = await monitor("silent");
      expect(status).toBe(200);
      expect(json).toMatchObject({ state: -1, status_error: { code: "DEADLINE_EXCEEDED" } });
      server.close();
      for (const socket of sockets) socket.destroy();
    });
  });
});
