import type { Problem, ShutdownNews } from "./api.js";
import { copyOf, part, setAttribute, setText } from "./dom.js";
import { counted } from "./format.js";

/** "asked" until the server tells more. */
export type StopPhase = "asked" | ShutdownNews["phase"];

export interface StopItemActions {
  retry(name: string): void;
  dismiss(item: StopItem): void;
}

const STEPS: readonly StopPhase[] = ["draining", "freeing", "terminating", "stopped"];

const WORDS: Record<Exclude<StopPhase, "failed">, string> = {
  asked: "asked to stop",
  draining: "draining: its work is waited for",
  freeing: "freeing: it gives back its memory",
  terminating: "terminating: its processes are ended",
  stopped: "stopped",
};

/** How far the shutdown of one model is. */
export class StopItem {
  readonly name: string;
  readonly element = copyOf("stop-item", HTMLLIElement);
  #phase: StopPhase = "asked";

  constructor(name: string, actions: StopItemActions) {
    this.name = name;
    for (const place of ["name", "again-name", "dismiss-name"]) setText(this.#part(place), name);
    this.#part("name").title = name;
    this.#part("again").addEventListener("click", () => actions.retry(name));
    this.#part("dismiss").addEventListener("click", () => actions.dismiss(this));
    this.show("asked");
  }

  get phase(): StopPhase {
    return this.#phase;
  }

  get isOver(): boolean {
    return this.#phase === "stopped" || this.#phase === "failed";
  }

  get hasFocus(): boolean {
    return this.element.contains(document.activeElement);
  }

  /** What is shown of it, in words. */
  get text(): string {
    return this.#part("phase").textContent ?? "";
  }

  show(
    phase: StopPhase,
    { processes, error }: { processes?: number | undefined; error?: Problem | undefined } = {},
  ): void {
    this.#phase = phase;
    setAttribute(this.element, "data-phase", phase);
    setText(this.#part("phase"), wordsFor(phase, processes, error));
    this.#part("retry").hidden = phase !== "failed";
    const reached = STEPS.indexOf(phase);
    for (const [index, step] of this.element.querySelectorAll(".steps i").entries()) {
      setAttribute(step, "class", index < reached ? "done" : index === reached ? "now" : "");
    }
  }

  #part(name: string): HTMLElement {
    return part(this.element, name, HTMLElement);
  }
}

function wordsFor(phase: StopPhase, processes: number | undefined, error: Problem | undefined): string {
  if (phase === "failed") return `could not be stopped: ${error?.message ?? "nobody knows why"}`;
  const ended =
    phase === "stopped" && processes ? `, ${counted(processes, "process", "processes")} ended` : "";
  return WORDS[phase] + ended;
}
