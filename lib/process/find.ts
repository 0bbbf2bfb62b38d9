import { networkInterfaces } from "node:os";
import type { ProcessEntry } from "./reader.js";
import { systemReader } from "./system.js";

/**
 * The process on this machine that has this address on its command line, as LocalAI starts its backends
 * (`--addr 127.0.0.1:50051`). A script and the backend that it started with its own arguments are one: the
 * script. Where no process fits, or several do, there is none; this process and its ancestors never fit.
 */
export async function findProcessByAddress(address: string): Promise<ProcessEntry | undefined> {
  if (!isOnThisMachine(address)) return undefined;
  const fitting = await systemReader.withArgument(
    (argument) => argument === address || argument.endsWith(`=${address}`),
  );
  if (fitting.length === 0) return undefined;

  const byPid = new Map(fitting.map((process) => [process.pid, process]));
  for (const pid of await ancestors(process.pid)) byPid.delete(pid);
  const topmost: ProcessEntry[] = [];
  for (const process of byPid.values()) {
    const [, ...above] = await ancestors(process.pid);
    if (!above.some((pid) => byPid.has(pid))) topmost.push(process);
  }
  return topmost.length === 1 ? topmost[0] : undefined;
}

/** A process id and those of its ancestors, nearest first. */
async function ancestors(pid: number): Promise<number[]> {
  const pids: number[] = [];
  for (let next = pid; next > 0 && !pids.includes(next); ) {
    pids.push(next);
    next = (await systemReader.find(next))?.ppid ?? 0;
  }
  return pids;
}

/** Whether a gRPC target is an address of this machine: only then a process here can be what answers there. */
export function isOnThisMachine(address: string): boolean {
  if (address.startsWith("unix:") || address.startsWith("unix-abstract:")) return true;
  const host = /^(?:\[(.+)\]|([^:]*)):\d+$/.exec(address);
  const name = host?.[1] ?? host?.[2];
  if (name === undefined) return false;
  if (["", "localhost", "0.0.0.0", "::", "::1"].includes(name) || /^127(\.\d+){3}$/.test(name)) return true;
  return Object.values(networkInterfaces()).some((own) => own?.some((entry) => entry.address === name));
}
