import type { OptionCheck } from "./options.js";

/** How long a name may be, in characters: "🦙" is one. */
export const MAX_NAME_LENGTH = 512;

/** What a request can name. */
export const modelName: OptionCheck = {
  takes: `a name of 1 to ${MAX_NAME_LENGTH} characters without control characters`,
  accepts: (value) =>
    typeof value === "string" && /^\P{Cc}+$/u.test(value) && Array.from(value).length <= MAX_NAME_LENGTH,
};

/** A model that is loaded: a backend serves it, on this machine or another. */
export interface LoadedModel {
  /** What requests call it. */
  readonly name: string;
  /** A gRPC target: `127.0.0.1:50051`, `[::1]:50051`, `unix:/run/llama.sock`, `dns:///host:port`. */
  readonly address: string;
  /** The backend's process on this machine; its descendants count as the backend's too. */
  readonly pid?: number | undefined;
  /**
   * The process' start time as `processStartTime(pid)` gives it. With it, a process id that the operating
   * system has since given to another process is recognised, and that process is left alone.
   */
  readonly startTime?: number | undefined;
  /** True while the registry knows the model to be in use; a shutdown then waits. */
  readonly busy?: boolean | undefined;
}

/** Whether two models, or one at two times, are served by one backend. */
export function isSameBackend(a: LoadedModel, b: LoadedModel): boolean {
  return a.address === b.address && a.pid === b.pid && a.startTime === b.startTime;
}
