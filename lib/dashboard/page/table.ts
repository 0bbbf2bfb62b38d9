import { announce } from "./announce.js";
import { part, setAttribute, setHidden, setText } from "./dom.js";
import type { Models } from "./models.js";
import { rememberedOpened, rememberOpened } from "./opened.js";
import { compareBy, isColumn, type Order, ordered } from "./order.js";
import { Row, type RowActions } from "./row.js";
import { Selection } from "./selection.js";

export interface TableActions extends Pick<RowActions, "stop" | "showLog"> {
  stopSelected(names: string[]): void;
  stopAll(): void;
}

/** With fewer models, there is nothing to look for. */
const FILTER_FROM = 6;

/** The models, in an order that changes only when the reader says so. */
export class Table {
  readonly #actions: RowActions;
  readonly #models: Models;
  readonly #region = part(document, "models", HTMLElement);
  readonly #table = part(document, "table", HTMLElement);
  readonly #tools = part(document, "tools", HTMLElement);
  readonly #nothing = part(document, "nothing", HTMLElement);
  readonly #body = part(document, "rows", HTMLElement);
  readonly #filterLabel = part(document, "filter-label", HTMLElement);
  readonly #filter = part(document, "filter", HTMLInputElement);
  readonly #shown = part(document, "shown", HTMLElement);
  readonly #headers = this.#table.querySelectorAll<HTMLElement>("[data-sort]");
  readonly #selection: Selection;
  #order: Order = { column: "name", isDescending: false };
  #rows: Row[] = [];
  #isNew = true;

  constructor(models: Models, actions: TableActions) {
    this.#models = models;
    this.#actions = {
      ...actions,
      opened: (row) => this.#toggle(row),
      selected: () => this.#selection.show(),
    };
    this.#selection = new Selection(() => this.#rows, actions.stopSelected);
    part(document, "stop-all", HTMLElement).addEventListener("click", () => actions.stopAll());
    this.#filter.addEventListener("input", () => {
      this.#showFilter();
      this.#selection.show();
      announce(this.#shown.textContent || "All are shown");
    });
    for (const header of this.#headers) {
      header.querySelector("button")?.addEventListener("click", () => this.#sort(header.dataset.sort));
    }
    this.#showOrder();
  }

  /** Where the focus goes when what had it is gone. */
  focus(): void {
    this.#region.focus({ preventScroll: true });
  }

  show(): void {
    const models = this.#models;
    for (const row of this.#rows) if (!models.has(row.name)) this.#remove(row);
    const known = new Map(this.#rows.map((row) => [row.name, row]));
    for (const model of models) {
      const row = known.get(model.name) ?? new Row(model.name, this.#actions);
      row.show(model, models);
      if (!known.has(model.name)) this.#insert(row);
    }
    if (this.#isNew) this.#openAtFirst();
    this.#isNew = false;
    setHidden(this.#table, models.size === 0);
    // One is stopped by its own button.
    setHidden(this.#tools, models.size < 2);
    setHidden(this.#nothing, models.size > 0);
    setHidden(this.#filterLabel, models.size < FILTER_FROM && this.#filter.value === "");
    this.#showFilter();
    this.#selection.show();
  }

  /** After a time without the server: what is open may have missed something. */
  loadAgain(): void {
    for (const row of this.#rows) row.loadAgain(this.#models);
  }

  #openAtFirst(): void {
    const remembered = rememberedOpened();
    for (const row of this.#rows) {
      if (remembered?.has(row.name) ?? this.#rows.length === 1) row.open(this.#models);
    }
  }

  #toggle(row: Row): void {
    if (row.isOpen) row.close();
    else row.open(this.#models);
    rememberOpened(this.#rows.filter(({ isOpen }) => isOpen).map(({ name }) => name));
  }

  /** A new one has its place by name. By what changes all the time, it comes last until the reader orders anew. */
  #insert(row: Row): void {
    const compare = compareBy(this.#order);
    const isAfter = (other: Row) => row.model && other.model && compare(row.model, other.model) < 0;
    const found = this.#order.column === "name" ? this.#rows.findIndex(isAfter) : -1;
    const index = found < 0 ? this.#rows.length : found;
    this.#body.insertBefore(row.element, this.#rows[index]?.element ?? null);
    this.#rows.splice(index, 0, row);
  }

  #remove(row: Row): void {
    const focused = row.focusedPart;
    const index = this.#rows.indexOf(row);
    this.#rows = this.#rows.filter((other) => other !== row);
    row.remove();
    if (focused === undefined) return;
    const shown = (other: Row) => !other.isHidden;
    const heir = this.#rows.slice(index).find(shown) ?? this.#rows.slice(0, index).findLast(shown);
    if (heir) heir.focus(focused);
    else this.focus();
  }

  #sort(column: string | undefined): void {
    if (!isColumn(column)) return;
    this.#order = ordered(column, this.#order);
    const compare = compareBy(this.#order);
    this.#rows.sort((a, b) => (a.model && b.model ? compare(a.model, b.model) : 0));
    this.#body.append(...this.#rows.flatMap(({ elements }) => elements));
    this.#showOrder();
  }

  #showOrder(): void {
    const { column, isDescending } = this.#order;
    for (const header of this.#headers) {
      const order = isDescending ? "descending" : "ascending";
      if (header.dataset.sort === column) setAttribute(header, "aria-sort", order);
      else header.removeAttribute("aria-sort");
    }
  }

  #showFilter(): void {
    const wanted = this.#filter.value.trim().toLowerCase();
    for (const row of this.#rows) row.isHidden = !row.name.toLowerCase().includes(wanted);
    const shown = this.#rows.filter(({ isHidden }) => !isHidden).length;
    setText(this.#shown, wanted === "" ? "" : `${shown} of ${this.#rows.length} shown`);
  }
}
