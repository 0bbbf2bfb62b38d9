import type { Model } from "./api.js";
import { Bar, describeParts, partsOf } from "./bar.js";
import { cpuOf, memoryOf, uptimeOf } from "./cost.js";
import { copyOf, part, setAttribute, setFigure, setHidden, setNote, setText } from "./dom.js";
import { bytes, duration, percent, UNKNOWN } from "./format.js";
import type { Models } from "./models.js";
import { Panel } from "./panel.js";
import { stateOf } from "./state.js";

/** What a reader can do with one model. */
export interface RowActions {
  stop(name: string): void;
  showLog(name: string): void;
  opened(row: Row): void;
  selected(): void;
}

/** One model in the table. */
export class Row {
  readonly name: string;
  readonly element = copyOf("row", HTMLTableRowElement);
  readonly #part = (name: string) => part(this.element, name, HTMLElement);
  readonly #checkbox = part(this.element, "select", HTMLInputElement);
  readonly #open = part(this.element, "open", HTMLButtonElement);
  readonly #log = part(this.element, "log", HTMLButtonElement);
  readonly #note = this.#part("note");
  readonly #badge = this.#part("badge");
  readonly #shape = part(this.element, "shape", SVGUseElement);
  readonly #state = this.#part("state");
  readonly #memory = this.#part("memory");
  readonly #share = this.#part("share");
  readonly #breakdown = this.#part("breakdown");
  readonly #memoryBar = new Bar(this.#breakdown);
  readonly #cpu = this.#part("cpu");
  readonly #cpuBar = new Bar(this.#part("cpu-bar"));
  readonly #processes = this.#part("processes");
  readonly #uptime = this.#part("uptime");
  #model: Model | undefined;
  #panel: Panel | undefined;

  constructor(name: string, actions: RowActions) {
    this.name = name;
    for (const place of ["name", "select-name", "log-name", "stop-name"]) setText(this.#part(place), name);
    this.#part("name").title = name;
    this.#open.addEventListener("click", () => actions.opened(this));
    this.#log.addEventListener("click", () => actions.showLog(name));
    this.#part("stop").addEventListener("click", () => actions.stop(name));
    this.#checkbox.addEventListener("change", () => actions.selected());
  }

  get model(): Model | undefined {
    return this.#model;
  }

  get isSelected(): boolean {
    return this.#checkbox.checked;
  }

  set isSelected(isSelected: boolean) {
    this.#checkbox.checked = isSelected;
  }

  get isOpen(): boolean {
    return this.#panel !== undefined;
  }

  /** The row itself, and what it opened. */
  get elements(): HTMLElement[] {
    return this.#panel ? [this.element, this.#panel.element] : [this.element];
  }

  set isHidden(isHidden: boolean) {
    for (const element of this.elements) setHidden(element, isHidden);
  }

  get isHidden(): boolean {
    return this.element.hidden !== false;
  }

  /** Which of its controls has the focus. */
  get focusedPart(): string | undefined {
    const focused = document.activeElement;
    return this.element.contains(focused) && focused instanceof HTMLElement
      ? focused.dataset.part
      : undefined;
  }

  focus(name: string): void {
    this.#part(name).focus();
  }

  /** Shows what its last 15 minutes were. */
  open(models: Models): void {
    this.#panel?.close();
    this.#panel = new Panel(this.name, models.intervalMs);
    this.element.after(this.#panel.element);
    setAttribute(this.#open, "aria-expanded", "true");
    this.#showPanel(models);
    void this.#panel.load(models.intervalMs);
  }

  close(): void {
    this.#panel?.close();
    this.#panel = undefined;
    setAttribute(this.#open, "aria-expanded", "false");
  }

  remove(): void {
    this.close();
    this.element.remove();
  }

  /** What was open may have missed something. */
  loadAgain(models: Models): void {
    void this.#panel?.load(models.intervalMs);
  }

  show(model: Model, models: Models): void {
    this.#showModel(model, models);
    this.#showPanel(models);
  }

  #showPanel(models: Models): void {
    if (this.#model) this.#panel?.show(this.#model, models);
  }

  #showModel(model: Model, { at, machine, hasLogs }: Models): void {
    setFigure(this.#uptime, duration(uptimeOf(model, at)));
    if (model === this.#model) return;
    this.#model = model;
    const { look, word, note } = stateOf(model);
    setAttribute(this.element, "data-look", look);
    setAttribute(this.#badge, "class", `badge ${look}`);
    setAttribute(this.#shape, "href", `#icon-${look}`);
    setText(this.#state, word);
    setNote(this.#note, note);

    const memory = memoryOf(model);
    const share = memory !== null && machine.memory > 0 ? percent((100 * memory) / machine.memory) : "";
    setFigure(this.#memory, bytes(memory));
    setText(this.#share, share);
    setAttribute(this.#share, "title", share && `${share} of the machine's memory`);
    const parts = partsOf(model.status?.memory.breakdown ?? {});
    this.#memoryBar.show(parts, memory ?? 0);
    setAttribute(this.#breakdown, "aria-label", describeParts(parts, memory) || "no breakdown");

    const cpu = cpuOf(model);
    setFigure(this.#cpu, percent(cpu));
    this.#cpuBar.show([{ name: "", value: cpu ?? 0, colour: 1 }], 100 * machine.cores);
    setFigure(this.#processes, model.process ? `${model.process.processes}` : UNKNOWN);
    setHidden(this.#log, !hasLogs);
  }
}
