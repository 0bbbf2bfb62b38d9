import { idsIn } from "./identity.js";
import type { ProcessEntry } from "./reader.js";

/** Which ids processes bear, remembered for as long as they are there: an environment is read once. */
export class Bearers {
  readonly #known = new Map<number, { readonly startTime: number; readonly ids: readonly string[] }>();

  /** Whether the environment of this process need not be read. */
  knows(process: ProcessEntry): boolean {
    return this.#known.get(process.pid)?.startTime === process.startTime;
  }

  /**
   * `environment` is `undefined` where it can't be read, and `""` where there is nothing: in the middle of starting a
   * program, a process has no environment yet.
   */
  learn({ pid, startTime }: ProcessEntry, environment: string | undefined): void {
    if (environment !== "") this.#known.set(pid, { startTime, ids: idsIn(environment ?? "") });
  }

  bear(process: ProcessEntry, id: string): boolean {
    return this.knows(process) && this.#known.get(process.pid)?.ids.includes(id) === true;
  }

  forgetAllBut(processes: readonly ProcessEntry[]): void {
    const there = new Set(processes.map(({ pid }) => pid));
    for (const pid of this.#known.keys()) if (!there.has(pid)) this.#known.delete(pid);
  }
}
