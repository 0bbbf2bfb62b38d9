/**
 * Processes by Linux' `/proc`: all of them, and trees. Long runs of readings are cut into slices, so that the event loop goes on
 * in between.
 */
import { existsSync, readdirSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { Bearers } from "./bearers.js";
import {
  bootLead,
  findStat,
  findVisible,
  isStillThere,
  readChildren,
  readEnvironmentNow,
  readStat,
  readStrings,
  readText,
  readThreads,
  readUsage,
  type Stat,
  sameStart,
  unlessGone,
} from "./procfs-files.js";
import type {
  LastPid,
  ProcessEntry,
  ProcessReader,
  ProcessTree,
  ProcessUsage,
  WantedTree,
} from "./reader.js";
import { shareNext } from "./share-next.js";
import { type Descent, descentIn, isChildOf, isSameProcess } from "./tree.js";

/** Of a sample, of which there may be many a second. */
const SLICE_MS = 0.3;
/** Of the whole table, which is the truer the faster it is read. */
const TABLE_SLICE_MS = 0.5;
const FILES_AT_ONCE = 16;

/** A process is given its id a moment before its parent has it among its children. */
const SETTLE_MS = 100;

/** On a busy machine something new is always there. */
const MAX_LISTINGS = 5;

/** How long the command lines or the environments of some processes are waited for. */
const READINGS_TIMEOUT_MS = 500;

type Breathe = () => Promise<void> | undefined;

/** Lets the event loop have its turn when a slice is used up. */
function slicer(sliceMs: number): Breathe {
  let sliceEnd = performance.now() + sliceMs;
  return () => {
    if (performance.now() < sliceEnd) return undefined;
    return setImmediate().then(() => {
      sliceEnd = performance.now() + sliceMs;
    });
  };
}

/** The newest first, as long as ids rise: of those that come and go, the fewest are gone before they are looked at. */
function readPids(): number[] {
  return readdirSync("/proc").map(Number).filter(Number.isInteger).reverse();
}

const bearers = new Bearers();

/** What bears an id was started by this process, or descends from such a one: it is not older. */
function mayBear(process: ProcessEntry): boolean {
  ownStartTime ??= readStat(globalThis.process.pid)?.startTime ?? 0;
  return process.startTime >= ownStartTime;
}
let ownStartTime: number | undefined;

async function readTable(): Promise<ProcessEntry[]> {
  const table: ProcessEntry[] = [];
  const breathe = slicer(TABLE_SLICE_MS);
  for (const pid of readPids()) {
    const stat = findStat(pid);
    if (stat) table.push(stat);
    await breathe();
  }
  return table;
}

/**
 * Until a listing has nothing new: then all that was there at the last one has been read, also of those that are handed on from
 * process to process all the time. Each environment is asked for as soon as its process is seen: a moment later, it may
 * have ended.
 */
async function readTableWithIds(): Promise<ProcessEntry[]> {
  const table: Stat[] = [];
  const ids = new Map<number, readonly string[]>();
  const listed = new Set<number>();
  const breathe = slicer(TABLE_SLICE_MS);
  for (let listings = 0; listings < MAX_LISTINGS; listings++) {
    const added = readPids().filter((pid) => !listed.has(pid));
    if (added.length === 0) break;
    let readings: Promise<unknown>[] = [];
    for (const pid of added) {
      listed.add(pid);
      const stat = findStat(pid);
      if (!stat) continue;
      table.push(stat);
      const known = mayBear(stat) ? bearers.idsOf(stat) : [];
      if (known) ids.set(pid, known);
      else readings.push(readIds(stat, ids));
      if (readings.length === FILES_AT_ONCE) {
        await inTime(readings);
        readings = [];
      }
      await breathe();
    }
    if (readings.length > 0) await inTime(readings);
  }
  bearers.forgetAllBut(table);
  return table.map((process) => ({ ...process, ids: ids.get(process.pid) }));
}

/** Those of a process that ended before they were read are left out: it may have been anybody's. */
function readIds(process: Stat, ids: Map<number, readonly string[]>): Promise<void> {
  const reading = bearers
    .read(process, () => readStrings(process.pid, "environ"))
    .then((read) => {
      if (bearers.idsOf(process) !== undefined || isStillThere(process)) ids.set(process.pid, read);
    });
  // Whoever waits for it is told; nobody may, where reading the table fails before.
  reading.catch(() => {});
  return reading;
}

function readTableNow(withIds: boolean): ProcessEntry[] {
  return readPids().flatMap((pid) => {
    const stat = findStat(pid);
    return stat && withIds ? { ...stat, ids: readIdsNow(stat) } : (stat ?? []);
  });
}

function readIdsNow(process: ProcessEntry): readonly string[] {
  // One that is being read may be one that hangs, and would have this process hang with it.
  if (!mayBear(process) || bearers.isReading(process)) return [];
  return bearers.idsOf(process) ?? bearers.learn(process, readEnvironmentNow(process.pid));
}

/** Waits for readings as long as they may take, which is less than a process that hangs takes. */
async function inTime(readings: readonly Promise<unknown>[]): Promise<void> {
  const isOver = new AbortController();
  const tooLong = delay(READINGS_TIMEOUT_MS, undefined, { signal: isOver.signal }).catch(() => {});
  try {
    await Promise.race([Promise.all(readings), tooLong]);
  } finally {
    isOver.abort();
  }
}

async function readTrees<Wanted extends WantedTree>(
  wanted: readonly Wanted[],
): Promise<Map<Wanted, ProcessTree | Error>> {
  // Read first: what is started while the trees are read is seen the next time.
  const lastPid = readLastPid();
  const trees = new Map<Wanted, ProcessTree | Error>();
  const breathe = slicer(SLICE_MS);
  for (const each of wanted) {
    const { pid, earlier } = each;
    const isAsBefore = earlier?.lastPid?.isSettled && earlier.lastPid.pid === lastPid?.pid;
    trees.set(each, isAsBefore ? earlier : readRoot(pid));
    await breathe();
  }
  let descent: Descent | undefined;
  for (const [each, tree] of trees) {
    if (tree instanceof Error || tree === each.earlier) continue;
    const [root] = tree.processes;
    if (!root) continue;
    hasChildrenFiles ??= existsSync("/proc/thread-self/children");
    if (!hasChildrenFiles) descent ??= descentIn(sameStart, await table());
    const isRoot = (process: ProcessEntry) => isSameProcess(sameStart, process, root);
    const { processes, isSure } = descent
      ? { processes: descent(isRoot), isSure: false }
      : await readDown(root, breathe);
    trees.set(each, { processes, lastPid: lastPid && lastSince(each.earlier?.lastPid, lastPid, isSure) });
    await breathe();
  }
  return trees;
}

/** Kernels that are built without CONFIG_PROC_CHILDREN do not have them. */
let hasChildrenFiles: boolean | undefined;

/** A tree of which the first process alone has been read; an error where that is hidden. */
function readRoot(pid: number): ProcessTree | Error {
  try {
    const root = findVisible(pid);
    return { processes: root ? [root] : [] };
  } catch (error) {
    return error as Error;
  }
}

/** Kernels that are built without CONFIG_CHECKPOINT_RESTORE do not have this file. */
function readLastPid(): LastPid | undefined {
  const pid = unlessGone(() => readText("/proc/sys/kernel/ns_last_pid"));
  return pid === undefined ? undefined : { pid, since: performance.now(), isSettled: false };
}

function lastSince(earlier: LastPid | undefined, now: LastPid, isSure: boolean): LastPid {
  const since = now.pid === earlier?.pid ? earlier.since : now.since;
  return { pid: now.pid, since, isSettled: isSure && now.since - since >= SETTLE_MS };
}

/** Not sure of the tree is who saw something of it end: its children have another parent now, or will have. */
async function readDown(
  root: ProcessEntry,
  breathe: Breathe,
): Promise<{ processes: ProcessEntry[]; isSure: boolean }> {
  let isSure = true;
  const tree = new Map<number, ProcessEntry>([[root.pid, root]]);
  for (const parent of tree.values()) {
    for (const thread of readThreads(parent.pid)) {
      for (const childPid of readChildren(parent.pid, thread)) {
        const child = readStat(childPid);
        if (!child || child.isZombie) isSure = false;
        if (child && isChildOf(sameStart, child, parent)) tree.set(childPid, child);
        await breathe();
      }
      await breathe();
    }
  }
  return { processes: [...tree.values()], isSure };
}

const table = shareNext(readTable);
const tableWithIds = shareNext(readTableWithIds);

export const procfs: ProcessReader = {
  find: async (pid) => findVisible(pid),
  trees: readTrees,
  table: (withIds = false) => (withIds ? tableWithIds() : table()),
  tableNow: (withIds = false) => readTableNow(withIds),
  sameStart,

  isStillThere,

  async usage(processes) {
    const readings: ProcessUsage[] = [];
    const breathe = slicer(SLICE_MS);
    const bootLeadMs = bootLead();
    for (const process of processes) {
      const reading = readUsage(process, bootLeadMs);
      if (reading) readings.push(reading);
      await breathe();
    }
    return readings;
  },

  /** Programs may give themselves another name in `stat`: Node 24 is "MainThread" there. */
  async named(processes) {
    const names = new Map<number, string>();
    const readName = async ({ pid }: ProcessEntry) => {
      const [program = ""] = (await readStrings(pid, "cmdline").catch(() => ""))?.split("\0") ?? [];
      names.set(pid, basename(program));
    };
    await inTime(processes.map(readName));
    return processes.map((process) => ({ ...process, command: names.get(process.pid) || process.command }));
  },

  async withArguments(accepts) {
    const candidates = await table();
    const found: ProcessEntry[] = [];
    for (let first = 0; first < candidates.length; first += FILES_AT_ONCE) {
      const group = candidates.slice(first, first + FILES_AT_ONCE);
      const read = async (process: ProcessEntry) => {
        const args = await readStrings(process.pid, "cmdline");
        if (accepts(args?.split("\0") ?? [])) found.push(process);
      };
      await inTime(group.map(read));
    }
    // A copy: what comes late is too late.
    return [...found];
  },
};
