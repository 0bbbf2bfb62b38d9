import { onThisMachine } from "./address.js";
import type { ProcessEntry } from "./reader.js";
import { systemReader } from "./system.js";

/**
 * The process on this machine that was started to serve this address, as LocalAI starts its backends: with
 * `--addr 127.0.0.1:50051`. A script and the backend that it started with its own arguments are one: the script.
 * Where no process fits, or several do, there is none; this process and its ancestors never fit.
 *
 * An address in any other place does not count: who has it there may well be a client of the backend.
 */
export async function findProcessByAddress(address: string): Promise<ProcessEntry | undefined> {
  if (!onThisMachine(address)) return undefined;
  const fitting = await systemReader.withArguments((args) => isToldToServe(args, address));
  if (fitting.length === 0) return undefined;

  const parents = new Map((await systemReader.table()).map(({ pid, ppid }) => [pid, ppid]));
  const ownLine = new Set([process.pid, ...ancestors(process.pid, parents)]);
  const candidates = new Map(
    fitting.filter(({ pid }) => !ownLine.has(pid)).map((entry) => [entry.pid, entry]),
  );
  const topmost = [...candidates.values()].filter(
    ({ pid }) => !ancestors(pid, parents).some((ancestor) => candidates.has(ancestor)),
  );
  return topmost.length === 1 ? topmost[0] : undefined;
}

/** Go's backends take the flag with one dash, too. */
function isToldToServe(args: readonly string[], address: string): boolean {
  return args.some(
    (arg, index) =>
      (/^--?addr$/.test(arg) && args[index + 1] === address) ||
      arg === `--addr=${address}` ||
      arg === `-addr=${address}`,
  );
}

/** The ancestors of a process, nearest first. */
function ancestors(pid: number, parents: ReadonlyMap<number, number>): number[] {
  const line: number[] = [];
  for (let next = parents.get(pid); next && next !== pid && !line.includes(next); next = parents.get(next)) {
    line.push(next);
  }
  return line;
}
