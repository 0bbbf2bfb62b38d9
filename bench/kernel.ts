/** What the kernel says of processes. */
import { readdirSync, readFileSync } from "node:fs";

export function kill(pid: number, signal: NodeJS.Signals = "SIGKILL"): void {
  try {
    if (pid > 0) process.kill(pid, signal);
  } catch {
    // It was quicker.
  }
}

/** The state of a process, in a letter; `undefined` where there is none. */
export function stateOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.[0];
  } catch {
    return undefined;
  }
}

export function isThere(pid: number): boolean {
  return !/^[ZX]?$/.test(stateOf(pid) ?? "");
}

export function readCommandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

/** The processes that have a mark in their environment or on their command line. */
export function bearersOf(mark: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
        return (environment.includes(mark) || readCommandLine(pid).includes(mark)) && isThere(pid);
      } catch {
        return false;
      }
    });
}
