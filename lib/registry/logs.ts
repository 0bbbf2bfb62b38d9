import { Follower } from "./follower.js";
import { RecentOutput } from "./recent-output.js";

const LOG_BYTES = 256 * 1024;

/** How long the log of a model is kept that is no longer supervised, so that one can see why; and of how many. */
const KEPT_MS = 600_000;
const KEPT_LOGS = 100;

interface Log {
  readonly output: RecentOutput;
  /** When its model went; `undefined` while that is supervised. */
  endedAt: number | undefined;
}

/** What the backends of models have printed, by the models' names. */
export class Logs {
  /** Those that ended are in the order in which they did. */
  readonly #logs = new Map<string, Log>();

  /** The log to append to, from now on: the one that is there, or a new one. */
  open(name: string): RecentOutput {
    const { output } = this.#logs.get(name) ?? { output: new RecentOutput(LOG_BYTES) };
    this.#logs.set(name, { output, endedAt: undefined });
    return output;
  }

  close(name: string): void {
    const log = this.#logs.get(name);
    if (!log) return;
    this.#logs.delete(name);
    this.#logs.set(name, { ...log, endedAt: performance.now() });
    this.#prune();
  }

  read(name: string): string | undefined {
    this.#prune();
    return this.#logs.get(name)?.output.toString();
  }

  follow(name: string, signal: AbortSignal): AsyncIterable<string> | undefined {
    this.#prune();
    const log = this.#logs.get(name);
    return log && new Follower(log.output, signal);
  }

  #prune(): void {
    const ended = [...this.#logs].filter(([, { endedAt }]) => endedAt !== undefined);
    const tooMany = ended.length - KEPT_LOGS;
    for (const [index, [name, { output, endedAt = 0 }]] of ended.entries()) {
      if (index >= tooMany && performance.now() - endedAt <= KEPT_MS) continue;
      this.#logs.delete(name);
      output.end();
    }
  }
}
