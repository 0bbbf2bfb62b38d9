import { once } from "node:events";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Server, Socket } from "node:net";
import { onTestFinished } from "vitest";
import type { TestBackend } from "./grpc.js";

/** Has a server of any kind listen on this machine until it is stopped, or until the end of the test. */
export async function listen(server: Server, port = 0): Promise<TestBackend> {
  const sockets: Socket[] = [];
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => {});
    sockets.push(socket);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const stop = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  onTestFinished(stop);
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, stop };
}

/** A server that begins to answer each call as gRPC has it, and leaves the rest to `answer`. */
export function answering(answer: (stream: ServerHttp2Stream) => void): Server {
  return createHttp2Server().on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    answer(stream);
  });
}
