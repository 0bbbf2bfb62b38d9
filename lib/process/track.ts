import type { ProcessEntry } from "./reader.js";
import { systemReader } from "./system.js";
import { TerminateError } from "./terminate-error.js";
import { descentIn, isSameProcess } from "./tree.js";

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
  /**
   * The same, without a turn of the event loop in between: for the end of this process. Reading ids may then hang; without
   * them, those are found that are known or have their parents.
   */
  leftNow(withIds: boolean): ProcessEntry[];
}

/**
 * How many times in a row nothing is to be seen before nothing is left. A single look can miss a process that is just starting
 * a program, or one of very many that come and go.
 */
const QUIET_LOOKS = 4;

export function trackTree(pid: number, { startTime, id }: TreeIdentity = {}): TrackedTree {
  const { sameStart } = systemReader;
  const hasId = id !== undefined;
  /** Every process that was ever seen to be of the tree. */
  const known = new Map<number, ProcessEntry>();
  let isFirst = true;

  function knownAs(process: ProcessEntry): ProcessEntry | undefined {
    const entry = known.get(process.pid);
    return entry && isSameProcess(sameStart, entry, process) ? entry : undefined;
  }

  function isRoot(process: ProcessEntry): boolean {
    return process.pid === pid && (startTime === undefined || sameStart(process.startTime, startTime));
  }

  function treeIn(table: readonly ProcessEntry[]): ProcessEntry[] {
    const isKnownOrRoot = (process: ProcessEntry) =>
      knownAs(process) !== undefined ||
      (isFirst && isRoot(process)) ||
      (hasId && process.ids?.includes(id) === true);
    const found = descentIn(sameStart, table)(isKnownOrRoot);
    isFirst = false;
    return found.map((process) => {
      const entry = knownAs(process) ?? process;
      known.set(entry.pid, entry);
      return entry;
    });
  }

  /** Whether the ids of all that may be of the tree have been read: nothing of it is older than its first process. */
  function isSure(table: readonly ProcessEntry[]): boolean {
    const mayBeOfIt = (process: ProcessEntry) =>
      process.ids === undefined &&
      process.startTime >= (startTime ?? 0) &&
      systemReader.isStillThere(process);
    return !hasId || !table.some(mayBeOfIt);
  }

  // Without an id, nothing can be found any more once all that was known is gone.
  const quietLooks = hasId ? QUIET_LOOKS : 1;

  return {
    async left() {
      for (let quiet = 0; ; ) {
        const wasFirst = isFirst;
        const table = await systemReader.table(hasId);
        const tree = treeIn(table);
        if (wasFirst && tree.length === 0) await refuseHidden(pid);
        quiet = isSure(table) ? quiet + 1 : 0;
        if (tree.length > 0 || quiet === quietLooks) return tree;
      }
    },
    leftNow(withIds) {
      for (let quiet = 1; ; quiet++) {
        const tree = treeIn(systemReader.tableNow(withIds && hasId));
        if (tree.length > 0 || quiet === quietLooks) return tree;
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
