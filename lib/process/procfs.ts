/**
 * Processes by Linux' `/proc` (proc_pid_stat(5), proc_pid_status(5)).
 *
 * `stat`, `status` and `children` are read synchronously: the kernel answers them from memory within some
 * ten microseconds, a tenth of what a trip through Node's thread pool costs. Long runs of them are cut into
 * slices, so that the event loop goes on in between. `cmdline` and `environ` are not read so, but at the end of this
 * process: they wait for the lock of the process' address space, and a process that hangs may hold that for long.
 */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { uptime } from "node:os";
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { Bearers } from "./bearers.js";
import type { LastPid, ProcessEntry, ProcessReader, ProcessTree, ProcessUsage } from "./reader.js";
import { shareNext } from "./share-next.js";
import { isChildOf, isSameProcess, withDescendants } from "./tree.js";

/** A clock tick in `/proc` is 10 ms: USER_HZ is 100 on every architecture that Node runs on. */
const TICK_MS = 10;
/** Of a sample, of which there may be many a second. */
const SLICE_MS = 0.3;
/** Of the whole table, which is the truer the faster it is read. */
const TABLE_SLICE_MS = 0.5;
const FILES_AT_ONCE = 16;

/** A process is given its id a moment before its parent has it among its children. */
const SETTLE_MS = 100;

/** How long the command lines or the environments of some processes are waited for. */
const READINGS_TIMEOUT_MS = 500;

const sameStart = (a: number, b: number) => a === b;

interface Stat extends ProcessEntry {
  readonly isZombie: boolean;
  readonly cpuMs: number;
  readonly reapedCpuMs: number;
}

/** What `read` returns, or `undefined` where the process ended before or in the middle of it, or is hidden. */
function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ESRCH" || isHidden(error);
}

function isHidden(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "EACCES" || code === "EPERM";
}

// One for all: to read a file of unknown length, readFileSync() would allocate as much each time.
const buffer = Buffer.allocUnsafeSlow(64 * 1024);

/** The text of a file. That of a single record, as `stat` and `status` are, comes whole with the first read. */
function readText(path: string, isRecord = true): string {
  const file = openSync(path, "r");
  try {
    let text = "";
    for (;;) {
      const length = readSync(file, buffer, 0, buffer.length, null);
      text += buffer.toString("latin1", 0, length);
      if (isRecord || length === 0) return text;
    }
  } finally {
    closeSync(file);
  }
}

function readStat(pid: number): Stat | undefined {
  const text = unlessGone(() => readText(`/proc/${pid}/stat`));
  if (text === undefined) return undefined;
  // The command is in parentheses, and may hold spaces and parentheses itself: fields are counted behind the last.
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  const [state = "", ppid] = fields;
  const ticks = (first: number) => (Number(fields[first]) + Number(fields[first + 1])) * TICK_MS;
  return {
    pid,
    ppid: Number(ppid),
    command: text.slice(text.indexOf("(") + 1, end),
    // With threads left it is no zombie, but a process whose first thread has ended alone.
    isZombie: state === "X" || (state === "Z" && Number(fields[17]) <= 1),
    startTime: Number(fields[19]),
    cpuMs: ticks(11),
    reapedCpuMs: ticks(13),
  };
}

function findStat(pid: number): Stat | undefined {
  const stat = readStat(pid);
  return stat?.isZombie ? undefined : stat;
}

/**
 * One process that was asked for.
 *
 * @throws where it is there, but hidden: `/proc` can be mounted so that it shows nobody else's (`hidepid`). That
 * is not "gone".
 */
function findVisible(pid: number): Stat | undefined {
  const stat = readStat(pid);
  if (stat) return stat.isZombie ? undefined : stat;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EPERM") {
      throw new Error(`process ${pid} is another user's, and this system hides it`);
    }
  }
  return undefined;
}

/** A process' `status`. Where its first thread has ended alone, the others still tell what memory they have. */
function readStatus(pid: number): string | undefined {
  const status = unlessGone(() => readText(`/proc/${pid}/status`));
  if (status === undefined || status.includes("VmRSS:")) return status;
  const others = readThreads(pid).map((thread) =>
    unlessGone(() => readText(`/proc/${pid}/task/${thread}/status`)),
  );
  return others.find((other) => other?.includes("VmRSS:")) ?? status;
}

function readThreads(pid: number): string[] {
  return unlessGone(() => readdirSync(`/proc/${pid}/task`)) ?? [];
}

function readUsage(process: ProcessEntry, now: number): ProcessUsage | undefined {
  const status = readStatus(process.pid);
  // Read last: had the id changed hands since the tree was read, this shows it.
  const stat = readStat(process.pid);
  if (status === undefined || !stat || !isSameProcess(sameStart, stat, process)) return undefined;
  // A zombie and a kernel thread have no memory of their own, and none of these lines: "VmRSS:     1234 kB".
  const bytes = (name: string) => {
    const line = status.indexOf(`\n${name}:`);
    return line < 0 ? undefined : Number.parseInt(status.slice(line + name.length + 2), 10) * 1024;
  };
  const rss = bytes("VmRSS");
  const [anonymous, file, shared] = [bytes("RssAnon"), bytes("RssFile"), bytes("RssShmem")];
  const isSplit = anonymous !== undefined && file !== undefined && shared !== undefined;
  return {
    pid: stat.pid,
    startTime: stat.startTime,
    // One that has just let go of its memory will be a zombie in a moment.
    isZombie: stat.isZombie || rss === undefined,
    ageMs: now - stat.startTime * TICK_MS,
    cpuMs: stat.cpuMs,
    reapedCpuMs: stat.reapedCpuMs,
    rss: rss ?? 0,
    vms: bytes("VmSize") ?? 0,
    breakdown: rss === undefined ? {} : isSplit ? { anonymous, file, shared } : { rss },
  };
}

let clockLagMs: number | undefined;

/**
 * The time now, on the clock of `startTime`: milliseconds since boot, times of suspension included. That is
 * `/proc/uptime`, but in an LXC container the file tells the age of the container, which is less: this process
 * itself would be younger than it knows to be. By so much the file's clock lags behind.
 */
function now(): number {
  const uptimeMs = uptime() * 1000;
  if (clockLagMs === undefined) {
    const startedAt = (readStat(process.pid)?.startTime ?? 0) * TICK_MS;
    clockLagMs = Math.max(0, startedAt + process.uptime() * 1000 - uptimeMs);
  }
  return uptimeMs + clockLagMs;
}

/** A child stands with the thread that forked it. */
function readChildren(pid: number, thread: string): number[] {
  const children = unlessGone(() => readText(`/proc/${pid}/task/${thread}/children`, false));
  return children ? children.trim().split(" ").filter(Boolean).map(Number) : [];
}

/** Lets the event loop have its turn when a slice is used up. */
function slicer(sliceMs: number): () => Promise<void> | undefined {
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

/** Each environment is asked for as soon as its process is seen: a moment later, it may have ended. */
async function readTableWithIds(): Promise<ProcessEntry[]> {
  const table: ProcessEntry[] = [];
  const ids = new Map<number, readonly string[]>();
  let readings: Promise<unknown>[] = [];
  const breathe = slicer(TABLE_SLICE_MS);
  for (const pid of readPids()) {
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
  await inTime(readings);
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
  const table = readPids().flatMap((pid) => findStat(pid) ?? []);
  return withIds ? table.map((process) => ({ ...process, ids: readIdsNow(process) })) : table;
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

async function readTree(pid: number, earlier?: ProcessTree): Promise<ProcessTree> {
  // Read first: what is started while the tree is read is seen the next time.
  const lastPid = readLastPid(earlier?.lastPid);
  if (earlier?.lastPid?.isSettled && lastPid?.pid === earlier.lastPid.pid) return earlier;
  const { processes, isSure } = await readProcesses(pid);
  return { processes, lastPid: lastPid && { ...lastPid, isSettled: lastPid.isSettled && isSure } };
}

/** Kernels that are built without CONFIG_CHECKPOINT_RESTORE do not have this file. */
function readLastPid(earlier: LastPid | undefined): LastPid | undefined {
  const pid = unlessGone(() => readText("/proc/sys/kernel/ns_last_pid"));
  if (pid === undefined) return undefined;
  const since = pid === earlier?.pid ? earlier.since : performance.now();
  return { pid, since, isSettled: performance.now() - since >= SETTLE_MS };
}

/** Not sure of the tree is who saw something of it end: its children have another parent now, or will have. */
async function readProcesses(pid: number): Promise<{ processes: ProcessEntry[]; isSure: boolean }> {
  const root = findVisible(pid);
  if (!root) return { processes: [], isSure: false };
  // Kernels that are built without CONFIG_PROC_CHILDREN do not have these files.
  if (!existsSync("/proc/thread-self/children")) {
    const isRoot = (process: ProcessEntry) => isSameProcess(sameStart, process, root);
    return { processes: withDescendants(sameStart, await table(), isRoot), isSure: false };
  }
  let isSure = true;
  const tree = new Map<number, ProcessEntry>([[pid, root]]);
  const breathe = slicer(SLICE_MS);
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

/**
 * What a process was started with, a zero byte after each string: `""` where there is nothing, or not any more; `undefined`
 * where it is hidden. Takes as long as the process hangs.
 */
async function readStrings(pid: number, file: "cmdline" | "environ"): Promise<string | undefined> {
  try {
    return await readFile(`/proc/${pid}/${file}`, "utf8");
  } catch (error) {
    return explainUnread(error);
  }
}

function readEnvironmentNow(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch (error) {
    return explainUnread(error);
  }
}

function explainUnread(error: unknown): "" | undefined {
  if (isHidden(error)) return undefined;
  if (isGone(error)) return "";
  throw error;
}

function isStillThere(process: ProcessEntry): boolean {
  const stat = findStat(process.pid);
  return stat !== undefined && isSameProcess(sameStart, stat, process);
}

const table = shareNext(readTable);
const tableWithIds = shareNext(readTableWithIds);

export const procfs: ProcessReader = {
  find: async (pid) => findVisible(pid),
  tree: readTree,
  table: (withIds = false) => (withIds ? tableWithIds() : table()),
  tableNow: (withIds = false) => readTableNow(withIds),
  sameStart,

  isStillThere,

  async usage(processes) {
    const readings: ProcessUsage[] = [];
    const breathe = slicer(SLICE_MS);
    const readAt = now();
    for (const process of processes) {
      const reading = readUsage(process, readAt);
      if (reading) readings.push(reading);
      await breathe();
    }
    return readings;
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
