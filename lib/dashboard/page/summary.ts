import { Bar } from "./bar.js";
import { cpuOf, memoryOf, sum } from "./cost.js";
import { part, setText } from "./dom.js";
import { bytes, cores, counted, percent } from "./format.js";
import type { Models } from "./models.js";
import { stateOf } from "./state.js";

/** The largest models have a segment of their own in the bar. */
const SEGMENTS = 6;

/** What all models cost together. */
export class Summary {
  readonly #text = (name: string, text: string) => setText(part(document, `sum-${name}`, HTMLElement), text);
  readonly #memoryBar = new Bar(part(document, "sum-memory-bar", HTMLElement));
  readonly #cpuBar = new Bar(part(document, "sum-cpu-bar", HTMLElement));

  show(models: Models): void {
    const { memory, cores: machineCores } = models.machine;
    const used = sum([...models].map(memoryOf));
    const cpu = sum([...models].map(cpuOf));
    this.#text("models", `${models.size}`);
    this.#text("states", countStates(models));
    this.#text("memory", bytes(used));
    this.#text("memory-of", `of ${bytes(memory)} (${percent(memory > 0 ? (100 * used) / memory : 0)})`);
    this.#text("cpu", cores(cpu));
    this.#text("cpu-of", `of ${counted(machineCores, "core")}`);
    this.#memoryBar.show(segments(models, used), memory);
    this.#cpuBar.show([{ name: "", value: cpu, colour: 1 }], 100 * machineCores);
  }
}

function countStates(models: Models): string {
  const counts = new Map<string, number>();
  for (const model of models) {
    const { look, word } = stateOf(model);
    const state = look === "stopping" ? "stopping" : word;
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  return [...counts].map(([word, count]) => `${count} ${word}`).join(", ");
}

function segments(models: Models, used: number) {
  const largest = [...models]
    .map((model) => ({ name: model.name, value: memoryOf(model) ?? 0 }))
    .sort((a, b) => b.value - a.value)
    .slice(0, SEGMENTS);
  // By name, so that they keep their places while their sizes change.
  largest.sort((a, b) => (a.name < b.name ? -1 : 1));
  const others = used - sum(largest.map(({ value }) => value));
  return [
    ...largest.map((segment, index) => ({ ...segment, colour: index + 1 })),
    { name: "others", value: Math.max(0, others), colour: 0 },
  ];
}
