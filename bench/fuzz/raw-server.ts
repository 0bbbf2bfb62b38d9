import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { WireConnection } from "./frames.js";

const PREFACE_BYTES = 24;
const HEADERS = 1;

/** A server that sends bytes, and understands no more of what it gets than whether a call has come. */
export async function startRawServer(scriptNow: () => WireConnection | undefined) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    const script = scriptNow();
    if (!script) return;
    const { greeting, answer, atLast } = script;
    let received = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (!hasCall(received)) return;
      socket.off("data", onData).resume();
      socket.write(answer);
      if (atLast === "end") socket.end();
      // What was written would be lost with it.
      if (atLast === "reset") setImmediate(() => socket.resetAndDestroy());
    };
    socket.on("data", onData);
    socket.write(greeting);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const hangUp = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    hangUp,
    stop() {
      server.close();
      hangUp();
    },
  };
}

function hasCall(received: Buffer): boolean {
  for (let at = PREFACE_BYTES; at + 9 <= received.length; at += 9 + received.readUIntBE(at, 3)) {
    if (received[at + 3] === HEADERS) return true;
  }
  return false;
}
