import { quote } from "../message.js";
import type { ProcessEntry } from "./reader.js";

/** Processes were left that could not be ended. */
export class TerminateError extends Error {
  override readonly name = "TerminateError";
  /** Those that are left: their ids, and the names of what they run. */
  readonly processes: readonly { readonly pid: number; readonly command: string }[];
  /** How many others were ended. */
  readonly ended: number;

  constructor(reason: string, left: readonly ProcessEntry[], ended = 0) {
    const names = left.map(({ pid, command }) => `${pid} (${quote(command)})`);
    super(`${reason}: ${names.join(", ")}`);
    this.processes = left.map(({ pid, command }) => ({ pid, command }));
    this.ended = ended;
  }
}
