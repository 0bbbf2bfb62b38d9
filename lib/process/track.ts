import { setTimeout as delay } from "node:timers/promises";
import { describe } from "../message.js";
import { processId } from "../options.js";
import { bearsId } from "./identity.js";
import type { ProcessEntry } from "./reader.js";
import { sleepNow } from "./sleep-now.js";
import { systemReader } from "./system.js";
import { TerminateError } from "./terminate-error.js";
import { isSameProcess, withDescendants } from "./tree.js";

/** What names a tree. */
export interface TreeIdentity {
  /** The start time of the first process; one of another start time is not it. */
  readonly startTime?: number | undefined;
  /** What all processes of the tree bear in their environment; see `environmentWithId`. */
  readonly id?: string | undefined;
}

/**
 * A tree of which a process stays known when its parent has ended and it has been handed to another. With an id,
 * what was handed to another before it was seen is known too.
 */
export interface TrackedTree {
  /**
   * The processes of the tree that are there now, each the same object as long as it is the same process. What has
   * come since the last call is among them.
   */
  left(): Promise<ProcessEntry[]>;
  /** The same, without a turn of the event loop in between: for the end of this process. */
  leftNow(): ProcessEntry[];
}

/**
 * How many times in a row nothing is to be seen before nothing is left. A single look can miss a process that was forked
 * in the middle of it by one that has ended since, or that is just starting a program.
 */
const QUIET_LOOKS = 3;
const QUIET_MS = 2;

export function trackTree(pid: number, { startTime, id }: TreeIdentity = {}): TrackedTree {
  if (!processId.accepts(pid)) {
    throw new TypeError(`a process tree is named by ${processId.takes}; got ${describe(pid)}`);
  }
  const { sameStart } = systemReader;
  /** Every process that was ever seen to be of the tree. */
  const known = new Map<number, ProcessEntry>();
  /** Those whose environment was read, and that are not of the tree. */
  const strangers = new Map<number, ProcessEntry>();
  let isFirst = true;

  function lookUp(among: Map<number, ProcessEntry>, process: ProcessEntry): ProcessEntry | undefined {
    const entry = among.get(process.pid);
    return entry && isSameProcess(sameStart, entry, process) ? entry : undefined;
  }

  function isRoot(process: ProcessEntry): boolean {
    return process.pid === pid && (startTime === undefined || sameStart(process.startTime, startTime));
  }

  function treeIn(table: readonly ProcessEntry[]): ProcessEntry[] {
    const found = withDescendants(
      sameStart,
      table,
      (process) => lookUp(known, process) !== undefined || (isFirst && isRoot(process)),
    );
    return found.map((process) => {
      const entry = lookUp(known, process) ?? process;
      known.set(entry.pid, entry);
      return entry;
    });
  }

  /** The processes that may bear the id for all that is known: nothing of the tree is older than its first process. */
  function unread(table: readonly ProcessEntry[], tree: readonly ProcessEntry[]): ProcessEntry[] {
    const treePids = new Set(tree.map((process) => process.pid));
    return table.filter(
      (process) =>
        !treePids.has(process.pid) &&
        process.pid !== globalThis.process.pid &&
        (startTime === undefined || process.startTime >= startTime) &&
        !lookUp(strangers, process),
    );
  }

  function note(process: ProcessEntry, environment: string, bornBy: string): void {
    if (bearsId(environment, bornBy)) known.set(process.pid, process);
    // In the middle of starting a program a process has no environment yet.
    else if (environment !== "") strangers.set(process.pid, process);
  }

  async function look(): Promise<ProcessEntry[]> {
    const table = await systemReader.table();
    const tree = treeIn(table);
    if (isFirst && tree.length === 0) await refuseHidden(pid);
    isFirst = false;
    if (id === undefined || !systemReader.environments) return tree;

    const candidates = unread(table, tree);
    const environments = await systemReader.environments(candidates.map((candidate) => candidate.pid));
    for (const [index, candidate] of candidates.entries()) note(candidate, environments[index] ?? "", id);
    return treeIn(table);
  }

  function lookNow(): ProcessEntry[] {
    const table = systemReader.tableNow();
    const tree = treeIn(table);
    isFirst = false;
    if (id === undefined || !systemReader.environmentNow) return tree;

    for (const candidate of unread(table, tree)) {
      note(candidate, systemReader.environmentNow(candidate.pid), id);
    }
    return treeIn(table);
  }

  // Without an id, nothing can be found any more once all that was known is gone.
  const quietLooks = id === undefined ? 1 : QUIET_LOOKS;

  return {
    async left() {
      for (let looks = 1; ; looks++) {
        const tree = await look();
        if (tree.length > 0 || looks === quietLooks) return tree;
        await delay(QUIET_MS);
      }
    },
    leftNow() {
      for (let looks = 1; ; looks++) {
        const tree = lookNow();
        if (tree.length > 0 || looks === quietLooks) return tree;
        sleepNow(QUIET_MS);
      }
    },
  };
}

/** A process that the system hides from this user is not gone. */
async function refuseHidden(pid: number): Promise<void> {
  try {
    await systemReader.find(pid);
  } catch {
    const hidden = { pid, ppid: 0, startTime: 0, command: "?" };
    throw new TerminateError("the operating system does not show this process", [hidden]);
  }
}
