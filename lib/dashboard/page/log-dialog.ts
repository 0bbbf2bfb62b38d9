import { part, setText } from "./dom.js";
import { LogText } from "./log-text.js";
import { LogView } from "./log-view.js";
import { openLog, reasonOf } from "./requests.js";

/** A program that prints without an end is shown so often, and not with each of its lines. */
const SHOW_MS = 100;

/** What a backend prints, while it prints it. */
export class LogDialog {
  readonly #dialog = part(document, "log-dialog", HTMLDialogElement);
  readonly #state = part(this.#dialog, "log-state", HTMLElement);
  readonly #again = part(this.#dialog, "log-again", HTMLButtonElement);
  readonly #view: LogView;
  #model = "";
  #reading = new AbortController();

  /** `closed` is told that what had the focus before may be gone. */
  constructor(closed: () => void) {
    const toEnd = part(this.#dialog, "log-end", HTMLButtonElement);
    this.#view = new LogView(part(this.#dialog, "log-text", HTMLElement), (isFollowing) => {
      toEnd.hidden = isFollowing;
    });
    toEnd.addEventListener("click", () => {
      this.#view.toEnd();
      part(this.#dialog, "log-text", HTMLElement).focus();
    });
    this.#again.addEventListener("click", () => {
      this.#follow();
      part(this.#dialog, "log-text", HTMLElement).focus();
    });
    part(this.#dialog, "log-close", HTMLElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      this.#reading.abort();
      this.#view.clear();
      closed();
    });
  }

  show(model: string): void {
    if (this.#dialog.open) return;
    this.#model = model;
    const name = part(this.#dialog, "log-model", HTMLElement);
    setText(name, model);
    name.title = model;
    this.#dialog.showModal();
    this.#follow();
  }

  /** The server is there again. */
  followAgain(): void {
    if (this.#dialog.open && !this.#again.hidden) this.#follow();
  }

  #follow(): void {
    this.#reading.abort();
    this.#reading = new AbortController();
    this.#again.hidden = true;
    setText(this.#state, "opening");
    void this.#read(this.#reading.signal);
  }

  async #read(signal: AbortSignal): Promise<void> {
    let end = "The log ends here.";
    try {
      const stream = await openLog(this.#model, signal);
      // Its last lines are sent once more.
      this.#view.clear();
      setText(this.#state, "following");
      await this.#showAll(stream.pipeThrough(new TextDecoderStream()).getReader());
    } catch (error) {
      end = `The log can't be read: ${reasonOf(error)}.`;
    }
    if (signal.aborted) return;
    setText(this.#state, end);
    this.#again.hidden = false;
  }

  async #showAll(reader: ReadableStreamDefaultReader<string>): Promise<void> {
    const plain = new LogText();
    let text = "";
    let showing: number | undefined;
    const show = () => {
      this.#view.add(text);
      text = "";
      showing = undefined;
    };
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        text += plain.add(value);
        showing ??= setTimeout(show, SHOW_MS);
      }
    } finally {
      clearTimeout(showing);
      if (text !== "") show();
    }
  }
}
