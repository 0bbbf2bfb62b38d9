import { idsIn } from "./identity.js";
import type { ProcessEntry } from "./reader.js";

/** How long the environment of a process may take to be read. A process that hangs for longer counts as one without ids. */
const HANG_MS = 10_000;

interface Reading {
  readonly startTime: number;
  readonly since: number;
  readonly ids: Promise<readonly string[]>;
}

/**
 * Which ids processes bear, remembered for as long as they are there. Each environment is read once, and not a second time
 * while that is under way: where a process hangs, it takes up one thread of Node's pool and no more.
 */
export class Bearers {
  readonly #known = new Map<number, { readonly startTime: number; readonly ids: readonly string[] }>();
  readonly #readings = new Map<number, Reading>();

  /** The ids of a process; `undefined` where they are still to be read. */
  idsOf(process: ProcessEntry): readonly string[] | undefined {
    const known = this.#known.get(process.pid);
    if (known?.startTime === process.startTime) return known.ids;
    const reading = this.#readingOf(process);
    return reading && performance.now() - reading.since > HANG_MS ? [] : undefined;
  }

  isReading(process: ProcessEntry): boolean {
    return this.#readingOf(process) !== undefined;
  }

  read(
    process: ProcessEntry,
    readEnvironment: () => Promise<string | undefined>,
  ): Promise<readonly string[]> {
    const underWay = this.#readingOf(process);
    if (underWay) return underWay.ids;
    const { pid, startTime } = process;
    const ids = readEnvironment().then((environment) => this.learn(process, environment));
    const forget = () => {
      if (this.#readings.get(pid)?.ids === ids) this.#readings.delete(pid);
    };
    ids.then(forget, forget);
    this.#readings.set(pid, { startTime, since: performance.now(), ids });
    return ids;
  }

  /**
   * `environment` is `undefined` where it is hidden, and `""` where there is nothing: in the middle of starting a program, a
   * process has no environment yet. That is not remembered.
   */
  learn({ pid, startTime }: ProcessEntry, environment: string | undefined): readonly string[] {
    const ids = idsIn(environment ?? "");
    if (environment !== "") this.#known.set(pid, { startTime, ids });
    return ids;
  }

  forgetAllBut(processes: readonly ProcessEntry[]): void {
    const there = new Set(processes.map(({ pid }) => pid));
    for (const pid of this.#known.keys()) if (!there.has(pid)) this.#known.delete(pid);
  }

  #readingOf({ pid, startTime }: ProcessEntry): Reading | undefined {
    const reading = this.#readings.get(pid);
    return reading?.startTime === startTime ? reading : undefined;
  }
}
