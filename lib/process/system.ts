import { existsSync } from "node:fs";
import { checkValue, processId } from "../options.js";
import { portable } from "./portable.js";
import { procfs } from "./procfs.js";
import type { ProcessEntry, ProcessReader } from "./reader.js";
import { isSameProcess } from "./tree.js";

/**
 * The reader for this machine: `/proc` where it is Linux', `ps-list` and `pidusage` everywhere else. It is chosen
 * once, so that start times stay comparable. (Where `/proc` is there but hides a process, `ps` does not see it
 * either: it reads `/proc` itself.)
 */
export const systemReader: ProcessReader =
  process.platform === "linux" && existsSync("/proc/self/stat") ? procfs : portable;

/**
 * The start time of a process, or `undefined` where there is no process of this id. Together they identify it
 * for as long as the machine runs. Clock ticks since boot on Linux, milliseconds since 1970 elsewhere.
 *
 * ```ts
 * const startTime = await processStartTime(4711);
 * // Later, when the id may have come to belong to another process:
 * await terminateProcessTree(4711, { startTime });
 * ```
 *
 * @throws {TypeError} where `pid` is no process id.
 * @throws {Error} where the process table can't be read, or hides the process.
 */
export async function processStartTime(pid: number): Promise<number | undefined> {
  checkValue("processStartTime", pid, processId);
  return (await systemReader.find(pid))?.startTime;
}

/** The start time of a process that had ended before that could be read: no process has it. */
export const NEVER_STARTED = -1;

/** Whether this very process is still there. */
export async function isRunning(process: ProcessEntry): Promise<boolean> {
  const found = await systemReader.find(process.pid);
  return found !== undefined && isSameProcess(systemReader.sameStart, found, process);
}
