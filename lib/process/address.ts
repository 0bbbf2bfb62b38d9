import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { type AddressInfo, connect, createServer, type NetConnectOpts } from "node:net";
import { networkInterfaces } from "node:os";
import { setTimeout as delay } from "node:timers/promises";

const CONNECT_TIMEOUT_MS = 500;
const FREE_TIMEOUT_MS = 2_000;
const FREE_POLL_MS = 50;

/**
 * How to connect to a gRPC target on this machine; `undefined` where it is another machine's, or can't be told
 * to be this one's without asking a name server.
 */
export function onThisMachine(target: string): NetConnectOpts | undefined {
  if (target.startsWith("unix:")) return { path: target.slice("unix:".length) };
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]*)):(\d{1,5})$/.exec(target) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port) > 65_535) return undefined;
  return isOwnHost(host) ? { host: host || "localhost", port: Number(port) } : undefined;
}

function isOwnHost(host: string): boolean {
  if (["", "localhost", "0.0.0.0", "::", "::1"].includes(host) || /^127(\.\d+){3}$/.test(host)) return true;
  return Object.values(networkInterfaces()).some((own) => own?.some(({ address }) => address === host));
}

/**
 * Whether somebody accepts connections at a gRPC target on this machine.
 *
 * @throws where this process has no file descriptor left to find out.
 */
export async function isListening(target: string): Promise<boolean> {
  const options = onThisMachine(target);
  if (!options) return false;
  const socket = connect({ ...options, timeout: CONNECT_TIMEOUT_MS });
  try {
    return await new Promise((resolve, reject) => {
      // From a port of the same number, it is connected to itself: nobody listens there.
      socket.once("connect", () => resolve(!("port" in options) || socket.localPort !== options.port));
      // No answer at all is that of a listener with a full queue: here, a refusal comes at once.
      socket.once("timeout", () => resolve(true));
      socket.once("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "EMFILE" || error.code === "ENFILE") reject(error);
        // The answer of a socket with a path whose queue is full.
        else resolve(error.code === "EAGAIN");
      });
    });
  } finally {
    socket.destroy();
  }
}

/**
 * Waits for nobody to accept connections at a gRPC target of which every process is gone; whether that was reached. A port
 * that a container runtime holds for its container is free a moment later. A listener of this process is nobody's, and
 * where the sockets are given that listened there before, so is one with another socket: it has come since.
 */
export async function isFreed(target: string, before: readonly string[] = []): Promise<boolean> {
  const isNew = () =>
    before.length > 0 && listeningSockets(target)?.some((socket) => before.includes(socket)) === false;
  const giveUpAt = performance.now() + FREE_TIMEOUT_MS;
  while ((await isListening(target)) && !isOwnListener(target) && !isNew()) {
    if (performance.now() >= giveUpAt) return false;
    await delay(FREE_POLL_MS);
  }
  return true;
}

/** An address on this machine alone, with a port that nobody listens at. */
export async function freeLoopbackAddress(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return `127.0.0.1:${port}`;
}

/**
 * The sockets that listen at a port of this machine; `undefined` where the system does not tell. Linux lists them in
 * `/proc/net/tcp` (state 0A, the local port in hexadecimal, the inode).
 */
export function listeningSockets(target: string): string[] | undefined {
  const options = onThisMachine(target);
  if (!options || !("port" in options)) return undefined;
  try {
    const port = options.port.toString(16).toUpperCase().padStart(4, "0");
    return ["/proc/net/tcp", "/proc/net/tcp6"]
      .flatMap((file) => readFileSync(file, "latin1").split("\n"))
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local, , state]) => local?.endsWith(`:${port}`) && state === "0A")
      .map((fields) => `socket:[${fields[9]}]`);
  } catch {
    return undefined;
  }
}

/** Whether it is this very process that accepts connections at a gRPC target; `false` where the system does not tell. */
export function isOwnListener(target: string): boolean {
  const listening = listeningSockets(target) ?? [];
  try {
    return readdirSync("/proc/self/fd").some((fd) => listening.includes(linkOf(`/proc/self/fd/${fd}`)));
  } catch {
    return false;
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
