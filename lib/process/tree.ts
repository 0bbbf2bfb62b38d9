import type { ProcessEntry, SameStart } from "./reader.js";

/** Whether two entries are one process, not two that were given the same id one after the other. */
export function isSameProcess(sameStart: SameStart, a: ProcessEntry, b: ProcessEntry): boolean {
  return a.pid === b.pid && sameStart(a.startTime, b.startTime);
}

/** Gives those processes of a table that `isRoot` takes, and all that descend from them; parents first. */
export type Descent = (isRoot: (process: ProcessEntry) => boolean) => ProcessEntry[];

/** Who descends from whom in a table, for as many trees as are wanted of it. */
export function descentIn(sameStart: SameStart, table: readonly ProcessEntry[]): Descent {
  const children = new Map<number, ProcessEntry[]>();
  for (const process of table) {
    const siblings = children.get(process.ppid);
    if (siblings) siblings.push(process);
    else children.set(process.ppid, [process]);
  }
  return (isRoot) => {
    const tree = new Set(table.filter(isRoot));
    // A set may grow while it is walked; what was added is walked too.
    for (const parent of tree) {
      for (const child of children.get(parent.pid) ?? []) {
        if (isChildOf(sameStart, child, parent)) tree.add(child);
      }
    }
    return [...tree];
  };
}

/**
 * A child is never older than its parent. Windows leaves a process the id of a parent that has ended, which
 * another process may have been given since.
 */
export function isChildOf(sameStart: SameStart, child: ProcessEntry, parent: ProcessEntry): boolean {
  return (
    child.ppid === parent.pid &&
    child.pid !== parent.pid &&
    (child.startTime >= parent.startTime || sameStart(child.startTime, parent.startTime))
  );
}
