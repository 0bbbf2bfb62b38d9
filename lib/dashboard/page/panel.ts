import type { Model } from "./api.js";
import { type BarPart, partsOf, shareOf } from "./bar.js";
import { Chart } from "./chart.js";
import { cpuOf, memoryOf } from "./cost.js";
import { copyOf, part, setAttribute, setText, textElement } from "./dom.js";
import { brief, bytes, counted, duration, percent, UNKNOWN } from "./format.js";
import type { Models } from "./models.js";
import { fetchHistory, reasonOf } from "./requests.js";
import { rangeOf, Series } from "./series.js";
import { stateOf } from "./state.js";

/** Multiples of these are written without a fraction. */
const BYTE_STEPS = Array.from({ length: 64 }, (_, power) => 2 ** power);
const LEAST_BYTES = 1024;
const LEAST_CPU_PERCENT = 5;

let panels = 0;

/** What there is to see of one model beyond its row: its last 15 minutes, and what is known of its backend. */
export class Panel {
  readonly element = copyOf("panel", HTMLTableRowElement);
  readonly #name: string;
  readonly #part = (name: string) => part(this.element, name, HTMLElement);
  readonly #memory: Chart;
  readonly #cpu: Chart;
  readonly #facts = new Map<string, HTMLElement>();
  readonly #leaving = new AbortController();
  #series: Series;
  #trouble = "";
  #legend = "";

  constructor(name: string, intervalMs: number) {
    this.#name = name;
    this.#series = new Series(intervalMs);
    // Not by its name: uPlot looks it up as a member of an object.
    const group = `panel ${++panels}`;
    const chart = (kind: string, what: string) => ({
      label: `${what} of ${brief(name)} over the last 15 minutes`,
      read: (text: string) => setText(this.#part(`${kind}-reading`), text),
      group,
    });
    this.#memory = new Chart(this.#part("memory-chart"), {
      ...chart("memory", "Memory"),
      format: bytes,
      steps: BYTE_STEPS,
      least: LEAST_BYTES,
    });
    this.#cpu = new Chart(this.#part("cpu-chart"), {
      ...chart("cpu", "CPU"),
      format: percent,
      least: LEAST_CPU_PERCENT,
    });
  }

  /** Has the server tell what it remembers. What comes meanwhile is put behind that. */
  async load(intervalMs: number): Promise<void> {
    const live = new Series(intervalMs);
    this.#series = live;
    try {
      const history = await fetchHistory(this.#name, this.#leaving.signal);
      // It was asked for once more.
      if (this.#series !== live) return;
      this.#series = Series.joined(history, live);
      this.#trouble = "";
    } catch (error) {
      if (this.#leaving.signal.aborted) return;
      this.#trouble = `What was before is not known: ${reasonOf(error)}. `;
    }
    this.#draw();
  }

  show(model: Model, models: Models): void {
    this.#series.push(models.at, memoryOf(model), cpuOf(model));
    this.#draw();
    this.#showLegend(partsOf(model.status?.memory.breakdown ?? {}), memoryOf(model));
    this.#showFacts(model);
  }

  close(): void {
    this.#leaving.abort();
    this.#memory.destroy();
    this.#cpu.destroy();
    this.element.remove();
  }

  #draw(): void {
    const { at, memory, cpu } = this.#series;
    this.#memory.draw(at, memory);
    this.#cpu.draw(at, cpu);
    const since = duration((at.at(-1) ?? 0) - (at[0] ?? 0));
    setText(this.#part("memory-summary"), this.#trouble + inWords(memory, bytes, since));
    setText(this.#part("cpu-summary"), inWords(cpu, percent, since));
  }

  #showLegend(parts: readonly BarPart[], whole: number | null): void {
    const texts = parts.map(({ name, value }) => `${name}: ${bytes(value)} ${shareOf(value, whole)}`);
    if (texts.length === 0) texts.push("Nobody tells.");
    if (texts.join("\n") === this.#legend) return;
    this.#legend = texts.join("\n");
    const items = parts.map(({ name, value, colour }) => {
      const item = textElement("li", "");
      const label = textElement("bdi", name);
      label.title = name;
      item.append(
        textElement("i", "", `colour-${colour}`),
        label,
        textElement("span", bytes(value)),
        textElement("small", shareOf(value, whole)),
      );
      return item;
    });
    this.#part("legend").replaceChildren(
      ...(items.length > 0 ? items : [textElement("li", "Nobody tells.")]),
    );
  }

  #showFacts(model: Model): void {
    const { address, pid, loaded_since, process, status } = model;
    const { note } = stateOf(model);
    this.#fact("Figures", note || (status?.state === undefined ? UNKNOWN : "by the backend itself"));
    this.#fact("Address", address || UNKNOWN);
    this.#fact("Process", pid === null ? UNKNOWN : `${pid}`);
    this.#fact(
      "Loaded since",
      loaded_since === null ? UNKNOWN : new Date(loaded_since).toLocaleString("en-GB"),
    );
    this.#fact(
      "Resident memory",
      process ? `${bytes(process.rss)} in ${counted(process.processes, "process", "processes")}` : UNKNOWN,
    );
    this.#fact("Address space", bytes(process?.vms ?? null));
    this.#fact("CPU time", process ? duration(1000 * process.cpu_seconds) : UNKNOWN);
  }

  #fact(term: string, text: string): void {
    let fact = this.#facts.get(term);
    if (!fact) {
      fact = textElement("bdi", "");
      const description = document.createElement("dd");
      description.append(fact);
      this.#part("facts").append(textElement("dt", term), description);
      this.#facts.set(term, fact);
    }
    setText(fact, text);
    setAttribute(fact, "title", text);
  }
}

function inWords(
  column: readonly (number | null)[],
  format: (value: number | null) => string,
  since: string,
): string {
  const range = rangeOf(column);
  if (!range) return "Nothing is known yet.";
  return `Now ${format(range.now)}; least ${format(range.least)} and most ${format(range.most)} in the last ${since}.`;
}
