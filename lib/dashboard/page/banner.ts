import { announce } from "./announce.js";
import { part, setText } from "./dom.js";
import { duration } from "./format.js";

const TICK_MS = 1_000;

/** The sign of whether what the page shows is so now. */
export class Banner {
  readonly #banner = part(document, "banner", HTMLElement);
  readonly #what = part(document, "banner-what", HTMLElement);
  readonly #since = part(document, "banner-since", HTMLElement);
  readonly #liveness = part(document, "liveness", HTMLElement);
  #seenAt: number | undefined;
  #tick: number | undefined;

  /** There are figures, of now. */
  seen(): void {
    this.#seenAt = Date.now();
    if (document.body.dataset.connection === "live") return;
    if (this.#tick !== undefined) announce("Connected again");
    clearInterval(this.#tick);
    this.#tick = undefined;
    document.body.dataset.connection = "live";
    setText(this.#liveness, "live");
    this.#banner.hidden = true;
  }

  lost(reason: string | undefined): void {
    const what = this.#seenAt === undefined ? "There is no connection." : "The connection is lost.";
    this.#warn(reason ? `Not connected: ${reason}.` : what, "not connected");
  }

  /** The server is there, and can't tell. */
  trouble(message: string): void {
    this.#warn(`The server has no new figures: ${message}.`, "in trouble");
  }

  #warn(what: string, word: string): void {
    if (this.#tick === undefined || this.#what.textContent !== what) announce(what);
    document.body.dataset.connection = "lost";
    setText(this.#liveness, word);
    setText(this.#what, what);
    this.#banner.hidden = false;
    this.#tick ??= setInterval(() => this.#showAge(), TICK_MS);
    this.#showAge();
  }

  #showAge(): void {
    const seen =
      this.#seenAt === undefined
        ? ""
        : `What is shown was last seen ${duration(Date.now() - this.#seenAt)} ago. `;
    setText(this.#since, `${seen}Trying again …`);
  }
}
