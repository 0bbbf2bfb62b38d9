import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { randomInt, randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

export const isLinux = process.platform === "linux";

/** Slim systems have no `ps`, and then nothing that stands on it can be tested. */
export const hasPs = spawnSync("ps").error === undefined;

const LAST_PID = "/proc/sys/kernel/ns_last_pid";

export interface Started {
  pid: number;
  /** The words of its first line of output. */
  words: string[];
  process: ChildProcess;
}

export function script(name: string): string {
  return fileURLToPath(new URL(`../processes/${name}`, import.meta.url));
}

/** Starts a script of __tests__/processes; resolves with its first line, which says that it is ready. */
export function startScript(name: string, args: string[] = [], options: SpawnOptions = {}): Promise<Started> {
  return start(process.execPath, [script(name), ...args], options);
}

/** Starts a program that prints a line when it is ready. It is killed at the end of the test. */
export async function start(command: string, args: string[], options: SpawnOptions = {}): Promise<Started> {
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "inherit"] });
  if (child.pid === undefined || !child.stdout) throw new Error(`${command} could not be started`);
  const { pid } = child;
  killAtLast(pid);
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, "line")) as [string];
  const words = line.split(" ");
  // What a script starts is killed too, should the test have failed before it ended it.
  for (const word of words) if (/^\d+$/.test(word) && isYounger(Number(word), pid)) killAtLast(Number(word));
  return { pid, words, process: child };
}

/** Kills a process at the end of the test, unless it has ended by then and its id is another one's. */
function killAtLast(pid: number) {
  const startTime = kernelStartTime(pid);
  onTestFinished(() => {
    if (kernelStartTime(pid) === startTime) kill(pid);
  });
}

function kill(pid: number) {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended, as it should.
  }
}

/** A number that is no process id, but a port, may be the id of a process that was there before. */
function isYounger(pid: number, parent: number): boolean {
  return Number(kernelStartTime(pid)) >= Number(kernelStartTime(parent));
}

function kernelStartTime(pid: number): string | undefined {
  try {
    // The name before it may have anything in it.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[19];
  } catch {
    return undefined;
  }
}

/** How to run a module in a Node with so few file descriptors that they are soon used up. */
export function nodeWithFewFiles(code: string): [command: string, args: string[]] {
  return [
    "sh",
    ["-c", 'ulimit -n 256; exec "$@"', "sh", process.execPath, "--input-type=module", "-e", code],
  ];
}

/** Kills a process, and waits for its end. */
export async function end(pid: number): Promise<void> {
  process.kill(pid, "SIGKILL");
  await hasEnded(pid);
}

/** By the kernel's own word. A zombie is not running, once the last of its threads has ended. */
export function isRunning(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return !/^State:\s+[ZX]/m.test(status) || !/^Threads:\s+[01]$/m.test(status);
  } catch {
    return false;
  }
}

export async function hasEnded(pid: number): Promise<void> {
  while (isRunning(pid)) await delay(5);
}

/** Stops a process, so that its memory does not change while it is compared. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) await delay(5);
}

/** A field of /proc/<pid>/status in bytes, read by the test itself. */
export function kernelBytes(pid: number, field: string): number {
  const line = readFileSync(`/proc/${pid}/status`, "utf8")
    .split("\n")
    .find((text) => text.startsWith(`${field}:`));
  return Number.parseInt(line?.split(":")[1] ?? "", 10) * 1024;
}

/** User and system time of a process in milliseconds, by the kernel's word. */
export function kernelCpuMs(pid: number): number {
  return ticksMs(pid, [11, 12]);
}

/** The same, with the time of its ended children that it has waited for. */
export function kernelTreeCpuMs(pid: number): number {
  return ticksMs(pid, [11, 12, 13, 14]);
}

/** How long ago a process was started, by the kernel's clock. */
export function kernelAgeMs(pid: number): number {
  const uptimeMs = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1000;
  return uptimeMs - ticksMs(pid, [19]);
}

function ticksMs(pid: number, fields: number[]): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return fields.reduce((sum, field) => sum + Number(stat[field]) * 10, 0);
}

/** The ids of all processes of which this process' kernel table says that their parent is `ppid`. */
export function kernelChildren(ppid: number): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      try {
        return (
          pid > 0 && new RegExp(`^PPid:\\s+${ppid}$`, "m").test(readFileSync(`/proc/${pid}/status`, "utf8"))
        );
      } catch {
        return false;
      }
    });
}

const MARK = "TEST_MARK";

/** Variables by which the test finds, with the kernel's help alone, all that inherits them. What is left is killed at last. */
export function markedEnvironment(): { mark: string; env: Record<string, string> } {
  const mark = randomUUID();
  onTestFinished(() => {
    for (const pid of bearersOf(mark)) kill(pid);
  });
  return { mark, env: { [MARK]: mark } };
}

/** The ids of all processes that bear a mark, in their environment or on their command line, and are there. */
export function bearersOf(mark: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && bears(pid, mark) && isRunning(pid));
}

function bears(pid: number, mark: string): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
    const commandLine = readFileSync(`/proc/${pid}/cmdline`, "latin1");
    return environment.split("\0").includes(`${MARK}=${mark}`) || commandLine.includes(mark);
  } catch {
    return false;
  }
}

/** The id of the parent that a process has now. */
export function kernelParent(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** The id of the session that a process is in: that of the process which started the session. */
export function kernelSession(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[3]);
}

/** The words of the command line of a process. */
export function kernelArguments(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : 0;
}

/** The ports that a system gives to whoever asks for any are above: nobody takes one of these between this and its use. */
const PORTS = { from: 10_000, to: 30_000 };

/** A port that nobody listens on, for a process that is to be started with it. */
export async function portOfNobody(): Promise<number> {
  for (;;) {
    const server = createServer().listen(randomInt(PORTS.from, PORTS.to), "127.0.0.1");
    try {
      await once(server, "listening");
    } catch {
      continue;
    }
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    return port;
  }
}

/** Whether this process may choose the id of the next one: root may. */
export const canChoosePid = (() => {
  try {
    writeFileSync(LAST_PID, readFileSync(LAST_PID));
    return true;
  } catch {
    return false;
  }
})();

/** An id that the kernel gets to soon, with none in between that it has given lately. It begins anew above 300. */
function pidAfter(lastPid: number): number {
  const skipped = lastPid + 200;
  return skipped < Number(readFileSync("/proc/sys/kernel/pid_max", "utf8")) ? skipped : 300;
}

/** Starts a process that gets a certain id, which no process has now: the kernel gives ids in turn. */
export async function startWithPid(pid: number): Promise<Started> {
  const lock = await lockPids();
  try {
    const giveUpAt = performance.now() + 15_000;
    while (performance.now() < giveUpAt) {
      // Somebody else was quicker, and will not be there for long: tests are short.
      if (existsSync(`/proc/${pid}`)) await delay(20);
      const lastPid = readFileSync(LAST_PID);
      writeFileSync(LAST_PID, `${pid - 1}`);
      const child = spawn("sleep", ["60"], { stdio: "ignore" });
      // Whatever is started next is not to get the id of a process that another test has just seen end: nor of one that was
      // started, and has ended, since it was read.
      writeFileSync(LAST_PID, `${pidAfter(Number(lastPid))}`);
      if (child.pid === pid) {
        killAtLast(pid);
        return { pid, words: [], process: child };
      }
      child.kill("SIGKILL");
      await once(child, "exit");
    }
  } finally {
    lock.close();
  }
  throw new Error(`no process could be started with the id ${pid}`);
}

/** Tests run side by side, and only one at a time may choose an id. The kernel takes the lock back from one that dies. */
async function lockPids(): Promise<Server> {
  for (;;) {
    const lock = createServer().listen("\0express-backend-monitor-test-pids");
    try {
      await once(lock, "listening");
      return lock;
    } catch {
      await delay(5);
    }
  }
}
