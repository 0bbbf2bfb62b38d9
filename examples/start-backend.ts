import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

export interface Backend {
  address: string;
  pid: number;
  process: ChildProcess;
  listening: Promise<unknown>;
}

/** Starts a backend process on a free port of this machine, unless the signal is aborted before. */
export async function startBackend(command: string, args: string[], signal: AbortSignal): Promise<Backend> {
  const address = `127.0.0.1:${await freePort()}`;
  signal.throwIfAborted();
  const child = spawn(command, [...args, "--addr", address], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NODE: process.execPath },
  });
  const failed = new Promise<never>((_resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      reject(new Error(`${command} ${args.join(" ")} ended with ${signal ?? code} before it was listening`));
    });
  });
  const lines = createInterface({ input: child.stdout });
  const listening = Promise.race([once(lines, "line"), failed]);
  return { address, pid: child.pid as number, process: child, listening };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}
