/**
 * One process, as its files in Linux' `/proc` tell of it (proc_pid_stat(5), proc_pid_status(5)).
 *
 * `stat`, `status` and `children` are read synchronously: the kernel answers them from memory within some
 * ten microseconds, a tenth of what a trip through Node's thread pool costs. `cmdline` and `environ` are not read so, but at
 * the end of this process: they wait for the lock of the process' address space, and a process that hangs may hold that for
 * long.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { uptime } from "node:os";
import type { ProcessEntry, ProcessUsage } from "./reader.js";
import { isSameProcess } from "./tree.js";

/** A clock tick in `/proc` is 10 ms: USER_HZ is 100 on every architecture that Node runs on. */
const TICK_MS = 10;
export const sameStart = (a: number, b: number) => a === b;

export interface Stat extends ProcessEntry {
  readonly isZombie: boolean;
  /** It is about to go. Its times are its parent's by now, and may be zero here. */
  readonly isReaped: boolean;
  readonly cpuMs: number;
  readonly reapedCpuMs: number;
}

/** What `read` returns, or `undefined` where the process ended before or in the middle of it, or is hidden. */
export function unlessGone<T>(read: () => T): T | undefined {
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

const CHUNK_BYTES = 32 * 1024;

/** The text of a file. That of a single record, as `stat` and `status` are, comes whole with the first read. */
export function readText(path: string, isRecord = true): string {
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

export function readStat(pid: number): Stat | undefined {
  const text = unlessGone(() => readText(`/proc/${pid}/stat`));
  if (text === undefined) return undefined;
  // The command is in parentheses, and may hold spaces and parentheses itself: fields are counted behind the last. Of some
  // fifty, none behind the start time is of use.
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ", 20);
  const [state = "", ppid] = fields;
  const ticks = (first: number) => (Number(fields[first]) + Number(fields[first + 1])) * TICK_MS;
  return {
    pid,
    ppid: Number(ppid),
    command: text.slice(text.indexOf("(") + 1, end),
    // With threads left it is no zombie, but a process whose first thread has ended alone.
    isZombie: state === "X" || (state === "Z" && Number(fields[17]) <= 1),
    isReaped: state === "X",
    startTime: Number(fields[19]),
    cpuMs: ticks(11),
    reapedCpuMs: ticks(13),
  };
}

export function findStat(pid: number): Stat | undefined {
  const stat = readStat(pid);
  return stat?.isZombie ? undefined : stat;
}

/**
 * One process that was asked for.
 *
 * @throws where it is there, but hidden: `/proc` can be mounted so that it shows nobody else's (`hidepid`). That
 * is not "gone".
 */
export function findVisible(pid: number): Stat | undefined {
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

export function readThreads(pid: number): string[] {
  return unlessGone(() => readdirSync(`/proc/${pid}/task`)) ?? [];
}

/** `bootLeadMs` is what {@link bootLead} gives. */
export function readUsage(process: ProcessEntry, bootLeadMs: number): ProcessUsage | undefined {
  const status = readStatus(process.pid);
  // Read last: had the id changed hands since the tree was read, this shows it.
  const stat = readStat(process.pid);
  const readAt = performance.now();
  if (status === undefined || !stat || stat.isReaped) return undefined;
  if (!isSameProcess(sameStart, stat, process)) return undefined;
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
    readAt,
    ageMs: readAt + bootLeadMs - stat.startTime * TICK_MS,
    cpuMs: stat.cpuMs,
    reapedCpuMs: stat.reapedCpuMs,
    rss: rss ?? 0,
    vms: bytes("VmSize") ?? 0,
    breakdown: rss === undefined ? {} : isSplit ? { anonymous, file, shared } : { rss },
  };
}

let clockLagMs: number | undefined;

/**
 * By how much the clock of `startTime` is ahead of `performance.now()`: milliseconds since boot, times of suspension
 * included. That is `/proc/uptime`, but in an LXC container the file tells the age of the container, which is less: this
 * process itself would be younger than it knows to be. By so much the file's clock lags behind.
 */
export function bootLead(): number {
  const uptimeMs = uptime() * 1000;
  if (clockLagMs === undefined) {
    const startedAt = (readStat(process.pid)?.startTime ?? 0) * TICK_MS;
    clockLagMs = Math.max(0, startedAt + process.uptime() * 1000 - uptimeMs);
  }
  return uptimeMs + clockLagMs - performance.now();
}

/** A child stands with the thread that forked it. */
export function readChildren(pid: number, thread: string): number[] {
  const children = unlessGone(() => readText(`/proc/${pid}/task/${thread}/children`, false));
  return children ? children.trim().split(" ").filter(Boolean).map(Number) : [];
}

/**
 * What a process was started with, a zero byte after each string: `""` where there is nothing, or not any more; `undefined`
 * where it is hidden. Takes as long as the process hangs.
 */
export async function readStrings(pid: number, file: "cmdline" | "environ"): Promise<string | undefined> {
  try {
    const handle = await open(`/proc/${pid}/${file}`);
    try {
      return await readToEnd(handle);
    } finally {
      handle.close().catch(() => {});
    }
  } catch (error) {
    return explainUnread(error);
  }
}

/** In as few trips as can be, as the process may end meanwhile: readFile() asks for the size, too, and reads once more. */
async function readToEnd(file: FileHandle): Promise<string> {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    const { bytesRead } = await file.read(chunk);
    chunks.push(chunk.subarray(0, bytesRead));
    if (bytesRead < CHUNK_BYTES) return Buffer.concat(chunks).toString();
  }
}

export function readEnvironmentNow(pid: number): string | undefined {
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

export function isStillThere(process: ProcessEntry): boolean {
  const stat = findStat(process.pid);
  return stat !== undefined && isSameProcess(sameStart, stat, process);
}
