import { announce } from "./announce.js";
import type { ShutdownNews, ShutdownOutcomes } from "./api.js";
import { part, setText } from "./dom.js";
import { brief, counted, isolated } from "./format.js";
import type { Models } from "./models.js";
import { StopItem } from "./stop-item.js";

/** Long enough to be seen. Who does not see it was told. */
const SHOW_STOPPED_MS = 10_000;

/** As many are seen without scrolling. */
const FIT = 6;

/** With more of them, their phases are not announced one by one. */
const MOST_ANNOUNCED = 3;

/** The shutdowns that are under way, this page's and others', and how those ended that failed. */
export class Stops {
  readonly #models: Models;
  readonly #retry: (name: string) => void;
  readonly #focusLost: () => void;
  readonly #section = part(document, "stops", HTMLElement);
  readonly #title = part(document, "stops-title", HTMLElement);
  readonly #list = part(document, "stops-list", HTMLElement);
  readonly #items = new Map<string, StopItem>();

  /** `focusLost` is told that what had the focus is gone. */
  constructor(models: Models, actions: { retry(name: string): void; focusLost(): void }) {
    this.#models = models;
    this.#retry = actions.retry;
    this.#focusLost = actions.focusLost;
  }

  /** They are about to be asked for. Returns what it is to be told by how that ended. */
  begin(names: readonly string[]): StopItem[] {
    const items = names.map((name) => {
      const item = this.#add(name);
      const underWay = this.#models.get(name)?.shutdown;
      if (underWay) item.show(underWay);
      return item;
    });
    this.#showTitle();
    return items;
  }

  news({ model: name, phase, ...details }: ShutdownNews): void {
    const known = this.#items.get(name);
    // Somebody may have asked to stop what was never loaded.
    if (!known && !this.#models.has(name)) return;
    if (known?.phase === phase) return;
    this.#show(!known || known.isOver ? this.#add(name) : known, phase, details);
  }

  /** The answer to what was begun. Most of it was heard of before. */
  settle(begun: readonly StopItem[], { outcomes }: ShutdownOutcomes): void {
    const errors = new Map(outcomes.map(({ model, error }) => [model, error]));
    for (const item of this.#open(begun)) {
      const error = errors.get(item.name);
      this.#show(item, error ? "failed" : "stopped", { error });
    }
  }

  /** There was no answer. What has got under way goes on, and is heard of. */
  fail(begun: readonly StopItem[], message: string): void {
    for (const item of this.#open(begun)) {
      if (item.phase === "asked") this.#show(item, "failed", { error: { code: 0, type: "", message } });
    }
  }

  /** What became of them while nothing was heard. */
  catchUp(): void {
    for (const item of this.#items.values()) {
      const model = this.#models.get(item.name);
      if (item.isOver) continue;
      if (!model) this.#show(item, "stopped");
      else if (model.shutdown) this.#show(item, model.shutdown);
      else if (item.phase !== "asked") {
        const message = "the connection was lost meanwhile, and it is still loaded";
        this.#show(item, "failed", { error: { code: 0, type: "", message } });
      }
    }
    for (const { name, shutdown } of this.#models) {
      if (shutdown && !this.#items.has(name)) this.#show(this.#add(name), shutdown);
    }
  }

  /** Those of them that have not ended, and were not begun anew. */
  #open(begun: readonly StopItem[]): StopItem[] {
    return begun.filter((item) => this.#items.get(item.name) === item && !item.isOver);
  }

  #add(name: string): StopItem {
    this.#remove(this.#items.get(name));
    const item = new StopItem(name, {
      retry: this.#retry,
      dismiss: (dismissed) => this.#remove(dismissed),
    });
    this.#items.set(name, item);
    this.#list.append(item.element);
    return item;
  }

  #show(
    item: StopItem,
    phase: ShutdownNews["phase"],
    details: Pick<ShutdownNews, "processes" | "error"> = {},
  ): void {
    if (item.phase === phase) return;
    const hadFocus = item.hasFocus;
    item.show(phase, details);
    if (hadFocus) this.#focusLost();
    if (phase === "stopped") setTimeout(() => this.#remove(item), SHOW_STOPPED_MS);
    this.#showTitle();
    if (this.#items.size <= MOST_ANNOUNCED || phase === "failed") {
      announce(`${isolated(brief(item.name))}: ${item.text}`);
    } else if (item.isOver) {
      announceLast(this.#title);
    }
  }

  #remove(item: StopItem | undefined): void {
    if (!item) return;
    const { hasFocus } = item;
    item.element.remove();
    if (this.#items.get(item.name) === item) this.#items.delete(item.name);
    this.#showTitle();
    if (hasFocus) this.#focusLost();
  }

  #showTitle(): void {
    const items = [...this.#items.values()];
    const [over, failed] = [
      items.filter(({ isOver }) => isOver),
      items.filter(({ phase }) => phase === "failed"),
    ];
    this.#section.hidden = items.length === 0;
    // A keyboard scrolls what has the focus.
    this.#list.tabIndex = items.length > FIT ? 0 : -1;
    const failures = failed.length > 0 ? `, ${failed.length} could not be stopped` : "";
    const stopped = `${over.length - failed.length} of ${counted(items.length, "model")} stopped${failures}`;
    setText(this.#title, over.length < items.length ? `Stopping: ${stopped}` : stopped);
  }
}

let isToBeAnnounced = false;

/** What it is by then: of many that end at once, the last is what is heard. */
function announceLast(element: Element): void {
  if (isToBeAnnounced) return;
  isToBeAnnounced = true;
  setTimeout(() => {
    isToBeAnnounced = false;
    announce(element.textContent ?? "");
  }, 1_000);
}
