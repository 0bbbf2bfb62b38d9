import { EventEmitter, once } from "node:events";
import { mkdtempSync } from "node:fs";
import { connect as connectTcp, createServer as createTcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { credentials, ServerCredentials, status } from "@grpc/grpc-js";
import { generate } from "selfsigned";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { type BackendClient, type GrpcBackendClientOptions, grpcBackendClient } from "../../lib/index.js";
import {
  type Call,
  fails,
  frees,
  hasMemory,
  isOk,
  neverReplies,
  replies,
  serveBackend,
} from "../support/grpc.js";
import { freePort, isLinux } from "../support/processes.js";

const { signal } = new AbortController();

function connect(address: string, options?: GrpcBackendClientOptions): BackendClient {
  const client = grpcBackendClient(options)({ name: "model", address });
  onTestFinished(() => client.close());
  return client;
}

/** Counts connections, and forwards them to an address or does something else with them. */
async function countConnections(address: string, handle = forwardTo(address)) {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
    sockets.push(socket);
    handle(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const bound = server.address();
  return { address: `127.0.0.1:${typeof bound === "object" && bound?.port}`, sockets };
}

function forwardTo(address: string) {
  return (socket: Socket): void => {
    const [host = "", port] = address.split(":");
    const onward = connectTcp(Number(port), host);
    socket.pipe(onward).pipe(socket);
    for (const end of [socket, onward]) end.on("error", () => {});
  };
}

describe("calls", () => {
  it("returns what Status says, with exact numbers", async () => {
    const memory = { total: "18446744073709551615", breakdown: { weights: "9007199254740993" } };
    const backend = await serveBackend({ Status: replies({ state: -1, memory }) });
    const client = connect(backend.address);
    expect(await client.status(signal)).toEqual({
      state: -1,
      memory: { total: 18446744073709551615n, breakdown: { weights: 9007199254740993n } },
    });
  });

  it("is healthy where Health replies OK, and only there", async () => {
    const healthy = await serveBackend({ Health: isOk });
    const other = await serveBackend({ Health: replies({ message: Buffer.from("OK, but") }) });
    expect(await connect(healthy.address).health(signal)).toBe(true);
    expect(await connect(other.address).health(signal)).toBe(false);
  });

  it("frees, and rejects where the backend says that it did not", async () => {
    const willing = await serveBackend({ Free: frees });
    const unwilling = await serveBackend({ Free: replies({ success: false, message: "no" }) });
    await connect(willing.address).free(signal);
    await expect(connect(unwilling.address).free(signal)).rejects.toThrow("no");
  });

  it("rejects with the name of gRPC's status", async () => {
    const backend = await serveBackend({ Health: fails(status.UNAUTHENTICATED, "who are you?") });
    const client = connect(backend.address);
    await expect(client.status(signal)).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
      message: "Method not implemented!",
    });
    await expect(client.health(signal)).rejects.toMatchObject({
      code: "UNAUTHENTICATED",
      message: "who are you?",
    });
    const nobody = connect(`127.0.0.1:${await freePort()}`);
    await expect(nobody.status(signal)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  it("cancels the call at the backend when it is aborted", async () => {
    const calls = new EventEmitter();
    const backend = await serveBackend({
      Status: (call) => {
        calls.emit("started");
        call.on("cancelled", () => calls.emit("cancelled"));
      },
    });
    const controller = new AbortController();
    const [started, cancelled] = [once(calls, "started"), once(calls, "cancelled")];
    const answer = connect(backend.address).status(controller.signal);
    await started;
    controller.abort();
    await expect(answer).rejects.toMatchObject({ code: "CANCELLED" });
    await cancelled;
  });

  it("makes no call where it is aborted already, or closed", async () => {
    const backend = await serveBackend({ Status: hasMemory });
    const client = connect(backend.address);
    await expect(client.status(AbortSignal.abort())).rejects.toThrow("abort");
    client.close();
    await expect(client.status(signal)).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it("leaves no listener behind on the signal", async () => {
    const backend = await serveBackend({ Status: hasMemory });
    const counted = new AbortController().signal;
    let listeners = 0;
    counted.addEventListener = () => void listeners++;
    counted.removeEventListener = () => void listeners--;
    await connect(backend.address).status(counted);
    expect(listeners).toBe(0);
  });
});

describe("connection", () => {
  it("is one for all calls", async () => {
    const backend = await serveBackend({ Status: hasMemory, Health: isOk });
    const counter = await countConnections(backend.address);
    const client = connect(counter.address);
    await Promise.all(Array.from({ length: 20 }, () => client.status(new AbortController().signal)));
    await client.health(signal);
    expect(counter.sockets).toHaveLength(1);
  });

  it.skipIf(!isLinux)("takes a unix socket", async () => {
    const path = join(mkdtempSync(join(tmpdir(), "ebm-")), "backend.sock");
    await serveBackend({ Status: hasMemory }, `unix:${path}`);
    expect(await connect(`unix:${path}`).status(signal)).toMatchObject({ state: 2 });
  });

  it("takes IPv6 and names", async () => {
    const backend = await serveBackend({ Status: hasMemory }, "[::1]:0");
    expect(await connect(backend.address).status(signal)).toMatchObject({ state: 2 });
    const named = await serveBackend({ Status: hasMemory }, "127.0.0.1:0");
    const target = `dns:///${named.address.replace("127.0.0.1", "localhost")}`;
    expect(await connect(target).status(signal)).toMatchObject({ state: 2 });
  });

  it("sees a backend again within a second after it came back, each time", async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const client = connect(address);
    for (let round = 0; round < 3; round++) {
      // Fails for longer each time: gRPC by itself would wait ever longer as well.
      for (let attempt = 0; attempt < 4 + 4 * round; attempt++) {
        await expect(client.status(signal)).rejects.toMatchObject({ code: "UNAVAILABLE" });
        await delay(50);
      }
      const backend = await serveBackend({ Status: hasMemory }, address);
      await delay(1000);
      expect(await client.status(signal)).toMatchObject({ state: 2 });
      backend.stop();
    }
  });

  describe("to a server that has no Status", () => {
    /** A server whose calls of Status are counted. */
    async function serveWithout(address?: string) {
      let asked = 0;
      const Status: Call = (call, reply) => {
        asked++;
        fails(status.UNIMPLEMENTED, "no such method")(call, reply);
      };
      const backend = await serveBackend({ Status, Health: isOk }, address);
      return { ...backend, asked: () => asked };
    }
    const unimplemented = { code: "UNIMPLEMENTED", message: "no such method" };

    it("does not carry the question again", async () => {
      const backend = await serveWithout();
      const client = connect(backend.address);
      for (let poll = 0; poll < 5; poll++) {
        await expect(client.status(signal)).rejects.toMatchObject(unimplemented);
        expect(await client.health(signal)).toBe(true);
      }
      expect(backend.asked()).toBe(1);
    });

    it("carries it again after a while, as there may be a proxy in between", async () => {
      const backend = await serveWithout();
      const client = connect(backend.address);
      await expect(client.status(signal)).rejects.toMatchObject(unimplemented);
      const since = performance.now();
      const clock = vi.spyOn(performance, "now").mockImplementation(() => since + 10_001);
      onTestFinished(() => clock.mockRestore());
      await expect(client.status(signal)).rejects.toMatchObject(unimplemented);
      expect(backend.asked()).toBe(2);
    });

    it("is another one when that has been replaced by one that has it", async () => {
      const backend = await serveWithout();
      const client = connect(backend.address);
      await expect(client.status(signal)).rejects.toMatchObject(unimplemented);
      backend.stop();
      await serveBackend({ Status: hasMemory }, backend.address);
      await delay(1000);
      for (let poll = 0; poll < 3; poll++) expect(await client.status(signal)).toMatchObject({ state: 2 });
    });
  });

  it("is replaced when the other end says nothing any more", async () => {
    const backend = await serveBackend({ Status: hasMemory });
    const counter = await countConnections(backend.address);
    const client = connect(counter.address);
    await client.status(signal);
    // What happens when a machine is unplugged: no reset, no end, nothing.
    for (const socket of counter.sockets) socket.unpipe().pause();
    await delay(250);
    await expect(client.status(AbortSignal.timeout(100))).rejects.toThrow();
    expect(await client.status(AbortSignal.timeout(5000))).toMatchObject({ state: 2 });
    expect(counter.sockets).toHaveLength(2);
  });

  it("does not cut a call short because another one gave up", async () => {
    // Takes connections, and says nothing on them: they never become ready.
    const { address } = await countConnections("127.0.0.1:1", () => {});
    const client = connect(address);
    const patient = new AbortController();
    const first = client.status(AbortSignal.timeout(300));
    const second = client.status(patient.signal);
    await expect(first).rejects.toThrow();
    // Takes a new connection, as the old one said nothing.
    await expect(client.status(AbortSignal.timeout(100))).rejects.toThrow();
    patient.abort();
    await expect(second).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it("lets other calls end on a connection that one call has given up on", async () => {
    let answer = () => {};
    const calls = new EventEmitter();
    const backend = await serveBackend({
      Status: (call, reply) => {
        answer = () => hasMemory(call, reply);
        calls.emit("status");
      },
      Health: neverReplies,
      Free: frees,
    });
    const client = connect(backend.address);
    const asked = once(calls, "status");
    const slow = client.status(signal);
    await asked;
    await delay(250);
    await expect(client.health(AbortSignal.timeout(50))).rejects.toThrow();
    // This one takes a new connection.
    await client.free(signal);
    answer();
    expect(await slow).toMatchObject({ state: 2 });
  });

  it("does not use the proxy of the environment", async () => {
    const backend = await serveBackend({ Status: hasMemory });
    process.env.grpc_proxy = `http://127.0.0.1:${await freePort()}`;
    onTestFinished(() => void delete process.env.grpc_proxy);
    expect(await connect(backend.address).status(signal)).toMatchObject({ state: 2 });
  });
});

describe("options", () => {
  it("sends the token with each call", async () => {
    const seen: unknown[] = [];
    const backend = await serveBackend({
      Status: (call, reply) => {
        seen.push(call.metadata.get("authorization"));
        reply(null, { state: 2 });
      },
    });
    await connect(backend.address, { token: "s3cret" }).status(signal);
    await connect(backend.address).status(signal);
    expect(seen).toEqual([["Bearer s3cret"], []]);
  });

  it("speaks TLS with the credentials it is given", async () => {
    const { private: key, cert } = await generate([{ name: "commonName", value: "localhost" }], {
      extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: "localhost" }] }],
    });
    const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) };
    const backend = await serveBackend(
      { Status: hasMemory },
      "localhost:0",
      ServerCredentials.createSsl(null, [pair]),
    );
    const trusting = connect(backend.address, { credentials: credentials.createSsl(Buffer.from(cert)) });
    expect(await trusting.status(signal)).toMatchObject({ state: 2 });
    const wary = connect(backend.address, { credentials: credentials.createSsl() });
    await expect(wary.status(signal)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  it.each([
    [{ token: "" }, /option "token" takes a token/],
    [{ token: "two words" }, /option "token" takes a token/],
    [{ credentials: {} }, /option "credentials" takes channel credentials/],
    [{ tokens: "a" }, /no option "tokens"; its options are token, credentials/],
  ])("refuses %j", (options, message) => {
    expect(() => grpcBackendClient(options as GrpcBackendClientOptions)).toThrow(TypeError);
    expect(() => grpcBackendClient(options as GrpcBackendClientOptions)).toThrow(message);
  });

  it("does not show a token that is not valid", () => {
    expect(() => grpcBackendClient({ token: "my s3cret" })).toThrow(/^(?!.*s3cret)/);
  });

  it("leaves a call that is never answered to its signal", async () => {
    const backend = await serveBackend({ Status: neverReplies });
    await expect(connect(backend.address).status(AbortSignal.timeout(50))).rejects.toThrow();
  });
});
