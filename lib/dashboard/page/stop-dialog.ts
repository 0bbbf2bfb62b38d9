import type { Model } from "./api.js";
import { memoryOf, sum } from "./cost.js";
import { part, setText, textElement } from "./dom.js";
import { bytes, counted } from "./format.js";
import { stateOf } from "./state.js";

/** Asks before anything is stopped, and says what will be lost. */
export class StopDialog {
  readonly #dialog = part(document, "stop-dialog", HTMLDialogElement);
  readonly #part = (name: string) => part(this.#dialog, name, HTMLElement);
  readonly #force = part(this.#dialog, "stop-force", HTMLInputElement);
  readonly #confirm = part(this.#dialog, "stop-confirm", HTMLButtonElement);
  readonly #list = this.#part("stop-list");
  #models: readonly Model[] = [];
  #confirmed: (force: boolean) => void = () => {};

  /** `closed` is told that what had the focus before may be gone. */
  constructor(closed: () => void) {
    // A keyboard scrolls what has the focus.
    this.#list.tabIndex = 0;
    this.#part("stop-cancel").addEventListener("click", () => this.#dialog.close());
    this.#confirm.addEventListener("click", () => {
      this.#dialog.close();
      this.#confirmed(this.#force.checked);
    });
    this.#force.addEventListener("change", () => this.#showModels());
    this.#dialog.addEventListener("close", closed);
  }

  ask(models: readonly Model[], confirmed: (force: boolean) => void): void {
    const [first] = models;
    if (!first || this.#dialog.open) return;
    this.#models = models;
    this.#confirmed = confirmed;
    this.#force.checked = false;
    const what = models.length === 1 ? textElement("bdi", first.name) : counted(models.length, "model");
    this.#part("stop-title").replaceChildren("Stop ", what, "?");
    setText(this.#confirm, models.length === 1 ? "Stop it" : `Stop ${counted(models.length, "model")}`);
    setText(this.#part("stop-loss"), lossOf(models));
    this.#showModels();
    this.#dialog.showModal();
    this.#list.scrollTop = 0;
  }

  #showModels(): void {
    this.#list.replaceChildren(
      ...this.#models.map((model) => {
        const item = textElement("li", "");
        const name = textElement("bdi", model.name);
        name.title = model.name;
        item.append(name, textElement("span", costOf(model)));
        if (stateOf(model).word === "busy") {
          const fate = this.#force.checked ? "busy: its work will be lost" : "busy: its work is waited for";
          item.append(textElement("em", fate));
        }
        return item;
      }),
    );
  }
}

function costOf(model: Model): string {
  const memory = memoryOf(model);
  const { process } = model;
  return [
    memory !== null && bytes(memory),
    process && counted(process.processes, "process", "processes"),
    memory === null && !process && "what it holds is not known",
  ]
    .filter(Boolean)
    .join(", ");
}

function lossOf(models: readonly Model[]): string {
  const memory = sum(models.map(memoryOf));
  const processes = sum(models.map(({ process }) => process?.processes ?? null));
  const losses = [
    processes > 0 && `ends ${counted(processes, "process", "processes")}`,
    memory > 0 && `gives back ${bytes(memory)} of memory`,
  ].filter(Boolean);
  return losses.length > 0 ? `This ${losses.join(" and ")}.` : "What will be lost is not known.";
}
