/**
 * Processes by Linux' `/proc` (proc_pid_stat(5), proc_pid_status(5)).
 *
 * `stat`, `status` and `children` are read synchronously: the kernel answers them from memory within some
 * ten microseconds, a tenth of what a trip through Node's thread pool costs. Long runs of them are cut into
 * slices, so that the event loop goes on in between. `cmdline` is not read so: it waits for the lock of the
 * process' address space, and a process that hangs may hold that for long.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import type { ProcessEntry, ProcessReader, ProcessUsage } from "./reader.js";
import { isChildOf, isSameProcess, withDescendants } from "./tree.js";

/** A clock tick in `/proc` is 10 ms: USER_HZ is 100 on every architecture that Node runs on. */
const TICK_MS = 10;
const SLICE_MS = 0.5;
const FILES_AT_ONCE = 16;

interface Stat extends ProcessEntry {
  readonly gone: boolean;
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
  return code === "ENOENT" || code === "ESRCH" || code === "EACCES" || code === "EPERM";
}

function readStat(pid: number): Stat | undefined {
  const text = unlessGone(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
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
    // A zombie with threads is a process whose first thread has ended alone.
    gone: "Xx".includes(state) || (state === "Z" && Number(fields[17]) <= 1),
    startTime: Number(fields[19]),
    cpuMs: ticks(11),
    reapedCpuMs: ticks(13),
  };
}

function findStat(pid: number): Stat | undefined {
  const stat = readStat(pid);
  return stat?.gone ? undefined : stat;
}

function readUsage(process: ProcessEntry, now: number): ProcessUsage | undefined {
  const status = unlessGone(() => readFileSync(`/proc/${process.pid}/status`, "latin1"));
  // Read last: had the id changed hands since the tree was read, this shows it.
  const stat = findStat(process.pid);
  if (status === undefined || !stat || !isSameProcess(procfs, stat, process)) return undefined;
  // A kernel thread has no memory of its own, and none of these lines.
  const bytes = (name: string) => {
    const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  };
  const rss = bytes("VmRSS") ?? 0;
  const [anonymous, file, shared] = [bytes("RssAnon"), bytes("RssFile"), bytes("RssShmem")];
  const isSplit = anonymous !== undefined && file !== undefined && shared !== undefined;
  return {
    pid: stat.pid,
    startTime: stat.startTime,
    ageMs: now - stat.startTime * TICK_MS,
    cpuMs: stat.cpuMs,
    reapedCpuMs: stat.reapedCpuMs,
    rss,
    vms: bytes("VmSize") ?? 0,
    breakdown: isSplit ? { anonymous, file, shared } : { rss },
  };
}

/**
 * The time now, on the clock of `startTime`, in milliseconds since boot. Reckoned from this process' own start
 * and not from `/proc/uptime`: in LXC containers that file tells the age of the container, which is another clock.
 */
function now(): number {
  const self = readStat(process.pid);
  return (self?.startTime ?? Number.NaN) * TICK_MS + process.uptime() * 1000;
}

/** A child stands with the thread that forked it. */
function readChildren(pid: number): number[] {
  const threads = unlessGone(() => readdirSync(`/proc/${pid}/task`)) ?? [];
  return threads.flatMap((thread) => {
    const children = unlessGone(() => readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1"));
    return children ? children.trim().split(" ").filter(Boolean).map(Number) : [];
  });
}

/** Lets the event loop have its turn when a slice is used up. */
function slicer(): () => Promise<void> | undefined {
  let sliceEnd = performance.now() + SLICE_MS;
  return () => {
    if (performance.now() < sliceEnd) return undefined;
    return setImmediate().then(() => {
      sliceEnd = performance.now() + SLICE_MS;
    });
  };
}

async function readTable(): Promise<ProcessEntry[]> {
  const table: ProcessEntry[] = [];
  const breathe = slicer();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    const stat = Number.isInteger(pid) ? findStat(pid) : undefined;
    if (stat) table.push(stat);
    await breathe();
  }
  return table;
}

async function readTree(pid: number): Promise<ProcessEntry[]> {
  const root = findStat(pid);
  if (!root) return [];
  // Kernels that are built without CONFIG_PROC_CHILDREN do not have these files.
  if (!existsSync("/proc/thread-self/children")) {
    return withDescendants(procfs, await readTable(), (process) => isSameProcess(procfs, process, root));
  }
  const tree = new Map<number, ProcessEntry>([[pid, root]]);
  const breathe = slicer();
  for (const parent of tree.values()) {
    for (const childPid of readChildren(parent.pid)) {
      const child = findStat(childPid);
      if (child && isChildOf(procfs, child, parent)) tree.set(childPid, child);
    }
    await breathe();
  }
  return [...tree.values()];
}

async function readArguments(pid: number): Promise<string[]> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0");
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

export const procfs: ProcessReader = {
  find: async (pid) => findStat(pid),
  tree: readTree,
  table: readTable,
  sameStart: (a, b) => a === b,

  async usage(processes) {
    const readings: ProcessUsage[] = [];
    const breathe = slicer();
    for (const process of processes) {
      const reading = readUsage(process, now());
      if (reading) readings.push(reading);
      await breathe();
    }
    return readings;
  },

  async withArgument(accepts) {
    const candidates = await readTable();
    const found: ProcessEntry[] = [];
    for (let first = 0; first < candidates.length; first += FILES_AT_ONCE) {
      const group = candidates.slice(first, first + FILES_AT_ONCE);
      const lists = await Promise.all(group.map(({ pid }) => readArguments(pid)));
      found.push(...group.filter((_, index) => lists[index]?.some(accepts)));
    }
    return found;
  },
};
