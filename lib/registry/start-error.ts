import type { RunEnd } from "./backend-run.js";

/** A backend could not be started, or its start was cancelled. Nothing of it is left, unless the message says so. */
export class StartError extends Error implements RunEnd {
  /** Always `"StartError"`. */
  override readonly name = "StartError";
  /** The code that its process exited with; `null` where it was ended by a signal, or did not end by itself. */
  readonly code: number | null;
  /** The signal that ended its process; `null` where none did, or where it did not end by itself. */
  readonly signal: NodeJS.Signals | null;
  /** The last lines that it wrote to stderr. */
  readonly stderr: string;

  /** What is left out of how its process ended is as if it had not ended by itself. */
  constructor(
    message: string,
    { code = null, signal = null, stderr = "", cause }: Partial<RunEnd> & { cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.signal = signal;
    this.stderr = stderr;
  }
}
