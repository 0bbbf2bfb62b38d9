import type { LoadedModel } from "./model.js";
import { type ProcessSample, sampleProcess, sampleProcesses } from "./process/stats.js";

/** What the operating system tells of models' processes. CPU is measured from the last sample of the same model. */
export class Samples {
  readonly #isKnown: (name: string) => boolean;
  readonly #took: (name: string, startedAt: number) => void;
  readonly #last = new Map<string, ProcessSample>();

  /** Only of models that are known is a sample kept. `took` is told of each that was sampled, whatever it came to. */
  constructor(isKnown: (name: string) => boolean, took: (name: string, startedAt: number) => void) {
    this.#isKnown = isKnown;
    this.#took = took;
  }

  /** A sample of a model's process, or why there is none. Never rejects. */
  async take(name: string, { pid, startTime }: LoadedModel): Promise<ProcessSample | Error> {
    if (pid === undefined) return notHere();
    const startedAt = performance.now();
    const previous = this.#last.get(name);
    const sample = await sampleProcess(pid, { startTime, previous }).catch(asError);
    this.#took(name, startedAt);
    this.keep(name, sample);
    return sample;
  }

  /** The same of many, by name, with one pass over the process table. None is kept: see `keep`. */
  async takeAll(
    models: readonly (readonly [name: string, LoadedModel])[],
  ): Promise<ReadonlyMap<string, ProcessSample | Error>> {
    const startedAt = performance.now();
    const taken = new Map<string, ProcessSample | Error>(models.map(([name]) => [name, notHere()]));
    const here = models.flatMap(([name, { pid, startTime }]) =>
      pid === undefined ? [] : { name, wanted: { pid, startTime, previous: this.#last.get(name) } },
    );
    const samples = await sampleProcesses(here.map(({ wanted }) => wanted));
    for (const [index, { name }] of here.entries()) {
      const sample = samples[index];
      if (sample) taken.set(name, sample);
      this.#took(name, startedAt);
    }
    return taken;
  }

  /** For the next one to be measured from, unless there is a newer one by now. */
  keep(name: string, sample: ProcessSample | Error): void {
    if (sample instanceof Error || !this.#isKnown(name)) return;
    const last = this.#last.get(name);
    if (!last || takenAt(last) < takenAt(sample)) this.#last.set(name, sample);
  }

  forget(name: string): void {
    this.#last.delete(name);
  }
}

/** On a clock that never jumps. */
function takenAt({ history }: ProcessSample): number {
  return history.cpu.newest.at;
}

function notHere(): Error {
  return new Error("no process of it can be seen on this machine");
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
