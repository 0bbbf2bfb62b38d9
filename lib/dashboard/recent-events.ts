import { randomBytes } from "node:crypto";
import { eventText } from "./event-stream.js";

const KEPT_BYTES = 1024 ** 2;
const KEPT_MS = 60_000;

interface Event {
  readonly sentAt: number;
  readonly text: Buffer;
}

/** Numbers the events, and keeps the last of them for viewers that were away. */
export class RecentEvents {
  /** Another router, or this one in another process, knows nothing of these events. */
  readonly #boot = randomBytes(8).toString("hex");
  readonly #kept: Event[] = [];
  #bytes = 0;
  /** The number of the last one. What a viewer begins with has one, too, though nothing was told before. */
  #last = 1;

  /** The id of who has seen all so far. */
  get lastId(): string {
    return this.#id(this.#last);
  }

  /** The id of who has seen nothing yet: with that, nothing can be resumed. */
  get noId(): string {
    return this.#id(0);
  }

  /** The text of the next event, the same for all viewers. */
  add(event: string, json: string): Buffer {
    this.#last++;
    const text = Buffer.from(eventText(this.lastId, event, json));
    this.#kept.push({ sentAt: performance.now(), text });
    this.#bytes += text.length;
    this.#prune();
    return text;
  }

  /** What whoever saw the event `id` last has missed; `undefined` where that can't be told any more. */
  since(id: string | undefined): Buffer | undefined {
    const [boot, number, ...rest] = id?.split("-") ?? [];
    const seen = /^[1-9]\d{0,15}$/.test(number ?? "") ? Number(number) : 0;
    if (boot !== this.#boot || rest.length > 0 || seen === 0) return undefined;
    this.#prune();
    const missed = this.#last - seen;
    if (missed < 0 || missed > this.#kept.length) return undefined;
    return Buffer.concat(this.#kept.slice(this.#kept.length - missed).map(({ text }) => text));
  }

  #id(number: number): string {
    return `${this.#boot}-${number}`;
  }

  #prune(): void {
    const oldest = performance.now() - KEPT_MS;
    for (let first = this.#kept[0]; first; first = this.#kept[0]) {
      if (this.#bytes <= KEPT_BYTES && first.sentAt >= oldest) return;
      this.#kept.shift();
      this.#bytes -= first.text.length;
    }
  }
}
