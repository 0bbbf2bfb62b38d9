import { announce } from "./announce.js";
import { part, setAttribute, setText } from "./dom.js";
import type { Row } from "./row.js";

/** The rows that are ticked, and what can be done with them together. */
export class Selection {
  readonly #all = part(document, "select-all", HTMLInputElement);
  readonly #stop = part(document, "stop-selected", HTMLButtonElement);
  readonly #rows: () => readonly Row[];

  constructor(rows: () => readonly Row[], stop: (names: string[]) => void) {
    this.#rows = rows;
    this.#all.addEventListener("change", () => {
      for (const row of this.#shown) row.isSelected = this.#all.checked;
      this.show();
    });
    this.#stop.addEventListener("click", () => {
      const names = this.#selected.map(({ name }) => name);
      // A button that is disabled would lose the focus.
      if (names.length > 0) stop(names);
      else announce("No model is selected");
    });
  }

  show(): void {
    const selected = this.#selected.length;
    const shown = this.#shown;
    const shownSelected = shown.filter(({ isSelected }) => isSelected).length;
    this.#all.checked = shown.length > 0 && shownSelected === shown.length;
    this.#all.indeterminate = shownSelected > 0 && shownSelected < shown.length;
    setAttribute(this.#stop, "aria-disabled", `${selected === 0}`);
    setText(this.#stop, selected === 0 ? "Stop selected" : `Stop selected (${selected})`);
  }

  get #selected(): Row[] {
    return this.#rows().filter(({ isSelected }) => isSelected);
  }

  get #shown(): Row[] {
    return this.#rows().filter(({ isHidden }) => !isHidden);
  }
}
