import type { Change, Machine, Model, ShutdownNews, Snapshot } from "./api.js";

/** What the server has told so far. By name in a Map: a model may be called `__proto__`. */
export class Models {
  readonly #byName = new Map<string, Model>();
  /** When the last sample was taken, by the server's clock. */
  at = 0;
  machine: Machine = { memory: 0, cores: 0 };
  intervalMs = 1_000;
  hasLogs = false;

  get size(): number {
    return this.#byName.size;
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  get(name: string): Model | undefined {
    return this.#byName.get(name);
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  [Symbol.iterator](): IterableIterator<Model> {
    return this.#byName.values();
  }

  takeAll({ at, models, machine, interval_ms, logs }: Snapshot): void {
    Object.assign(this, { at, machine, intervalMs: interval_ms, hasLogs: logs });
    this.#byName.clear();
    for (const model of models) this.#byName.set(model.name, model);
  }

  take({ at, changed, gone }: Change): void {
    this.at = at;
    for (const name of gone) this.#byName.delete(name);
    for (const model of changed) this.#byName.set(model.name, model);
  }

  /** The next sample has it too, but that may be a while. */
  takeNews({ model: name, phase }: ShutdownNews): void {
    const model = this.#byName.get(name);
    if (!model) return;
    if (phase === "stopped") this.#byName.delete(name);
    else this.#byName.set(name, { ...model, shutdown: phase === "failed" ? null : phase });
  }
}
