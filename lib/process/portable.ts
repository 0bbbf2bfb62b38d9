/**
 * Processes by `ps-list` and `pidusage`: macOS, Windows and whatever else has no Linux `/proc`. Both start a
 * program (`ps`; on Windows a bundled lister and PowerShell) for each reading, so they are loaded when first used.
 */
import { execFile, execFileSync } from "node:child_process";
import { promisify } from "node:util";
import type { ProcessEntry, ProcessReader, ProcessUsage } from "./reader.js";
import { shareNext } from "./share-next.js";
import { descentIn } from "./tree.js";

/** `ps` tells start times in whole seconds, and rounds them one way or the other. */
const SAME_START_MS = 2000;

const isWindows = process.platform === "win32";

interface ListedProcess {
  pid: number;
  ppid: number;
  name: string;
  cmd?: string;
  startTime?: Date;
}

async function list(): Promise<ListedProcess[]> {
  const { default: psList } = await import("ps-list");
  try {
    return await psList();
  } catch (cause) {
    const how = "it has no procfs, and no program that lists them (ps) works";
    throw new Error(`processes can't be listed on this machine: ${how}`, { cause });
  }
}

/** Memory and CPU times by pid; processes that ended are left out. */
async function measure(pids: number[]) {
  if (pids.length === 0) return new Map<number, Measurement>();
  const { default: pidusage } = await import("pidusage");
  try {
    // On Linux this would otherwise read /proc, which is not there where this module is used.
    const measured = await pidusage(pids, { usePs: !isWindows });
    return new Map<number, Measurement>(
      Object.values(measured)
        .filter((measurement) => measurement !== undefined)
        .map((measurement) => [measurement.pid, measurement]),
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Map<number, Measurement>();
    throw error;
  }
}

interface Measurement {
  pid: number;
  memory: number;
  ctime: number;
  elapsed: number;
  timestamp: number;
}

/**
 * What neither library tells: address space in bytes, and when the processes that were measured had been started;
 * `undefined` where no program tells, as on Windows.
 */
async function lookAgain(
  pids: number[],
): Promise<Map<number, { vms: number; startTime: number }> | undefined> {
  if (isWindows) return undefined;
  if (pids.length === 0) return new Map();
  try {
    const env = { ...process.env, LC_ALL: "C" };
    const args = ["-o", "pid=,vsz=,lstart=", "-p", pids.join(",")];
    const { stdout } = await promisify(execFile)("ps", args, { env });
    return new Map(
      stdout
        .trim()
        .split("\n")
        .map((row) => {
          // "4711 1234 Tue Nov 24 05:30:18 2026"
          const [pid, kilobytes, ...start] = row.trim().split(/\s+/);
          return [Number(pid), { vms: Number(kilobytes) * 1024, startTime: Date.parse(start.join(" ")) }];
        }),
    );
  } catch (error) {
    // So it ends where it finds none.
    return (error as { code?: unknown }).code === 1 ? new Map() : undefined;
  }
}

async function readTable(): Promise<ProcessEntry[]> {
  return identify(await list());
}

/**
 * With start times, and without zombies. There are no ids: ps shows environments on some systems, to some users, and run
 * together with the command line.
 */
async function identify(listed: readonly ListedProcess[]): Promise<ProcessEntry[]> {
  // ps-list has no start times on Windows; pidusage knows a process' age.
  const measured = isWindows ? await measure(listed.map(({ pid }) => pid)) : new Map<number, Measurement>();
  return listed.flatMap(({ pid, ppid, name, cmd = "", startTime }) => {
    const measurement = measured.get(pid);
    const start = startTime?.getTime() ?? (measurement && measurement.timestamp - measurement.elapsed);
    // The command line of a zombie is "[name] <defunct>" in Linux' ps, and "(name)" in BSD's.
    const isZombie = /^\[.*\] <defunct>$|^\(.*\)$/.test(cmd);
    return start === undefined || isZombie ? [] : [{ pid, ppid, startTime: start, command: name, ids: [] }];
  });
}

/** `ps-list` can't be used without a turn of the event loop. Its start times are of the same column, `lstart`. */
function readTableNow(): ProcessEntry[] {
  if (isWindows) return [];
  const columns = ["pid", "ppid", "stat", "lstart", "comm"].flatMap((column) => ["-o", `${column}=`]);
  const env = { ...process.env, LC_ALL: "C" };
  const rows = execFileSync("ps", ["-A", ...columns], { encoding: "utf8", env })
    .trim()
    .split("\n");
  return rows.flatMap((row) => {
    // "4711 1 Ss Tue Nov 24 05:30:18 2026 some program"
    const [pid, ppid, state, ...rest] = row.trim().split(/\s+/);
    const startTime = Date.parse(rest.slice(0, 5).join(" "));
    const command = rest.slice(5).join(" ");
    return state?.startsWith("Z")
      ? []
      : [{ pid: Number(pid), ppid: Number(ppid), startTime, command, ids: [] }];
  });
}

const sameStart = (a: number, b: number) => Math.abs(a - b) <= SAME_START_MS;

const table = shareNext(readTable);

/**
 * By its age, and so by this process' clock, which is of use only where nobody sets that in between. The age is from some
 * time between the question and the answer, which may be long on a busy machine.
 */
function mayHaveStarted({ timestamp, elapsed }: Measurement, startTime: number, askedAt: number): boolean {
  return startTime >= askedAt - elapsed - SAME_START_MS && startTime <= timestamp - elapsed + SAME_START_MS;
}

export const portable: ProcessReader = {
  find: async (pid) => (await identify((await list()).filter((process) => process.pid === pid)))[0],
  async trees(wanted) {
    const descent = descentIn(sameStart, await table());
    return new Map(
      wanted.map((each) => [each, { processes: descent((process) => process.pid === each.pid) }]),
    );
  },
  table,
  tableNow: readTableNow,
  sameStart,
  named: async (processes) => [...processes],

  async usage(processes) {
    const pids = processes.map(({ pid }) => pid);
    const askedAt = Date.now();
    const measured = await measure(pids);
    const readAt = performance.now();
    // Afterwards: had an id changed hands since the table was read, this shows it.
    const looks = await lookAgain([...measured.keys()]);
    return processes.flatMap(({ pid, startTime }): ProcessUsage[] => {
      const reading = measured.get(pid);
      if (!reading) return [];
      const look = looks?.get(pid);
      const isSame = looks
        ? look !== undefined && sameStart(look.startTime, startTime)
        : mayHaveStarted(reading, startTime, askedAt);
      if (!isSame) return [];
      return [
        {
          pid,
          startTime,
          isZombie: false,
          readAt,
          ageMs: reading.elapsed,
          cpuMs: reading.ctime,
          // ps has no such column; the time of ended children is not counted here.
          reapedCpuMs: 0,
          rss: reading.memory,
          vms: look?.vms ?? null,
          breakdown: { rss: reading.memory },
        },
      ];
    });
  },

  isStillThere: () => true,

  // ps does not tell where one argument ends and the next begins.
  withArguments: async (accepts) =>
    identify((await list()).filter(({ cmd = "" }) => accepts(cmd.split(/\s+/)))),
};
