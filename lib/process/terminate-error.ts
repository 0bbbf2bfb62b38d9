import { quote } from "../message.js";

/** Processes were left that could not be ended. */
export class TerminateError extends Error {
  /** Always `"TerminateError"`. */
  override readonly name = "TerminateError";
  /** Those that are left. */
  readonly processes: readonly {
    /** The process id. */
    readonly pid: number;
    /** The name of what it runs. */
    readonly command: string;
  }[];
  /** How many others were ended. */
  readonly ended: number;

  /** Its message is the reason, followed by the processes that are left. */
  constructor(reason: string, left: TerminateError["processes"], ended = 0) {
    const names = left.map(({ pid, command }) => `${pid} (${quote(command)})`);
    super(`${reason}: ${names.join(", ")}`);
    this.processes = left.map(({ pid, command }) => ({ pid, command }));
    this.ended = ended;
  }
}
