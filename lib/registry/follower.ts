import { setMaxListeners } from "node:events";
import { StringDecoder } from "node:string_decoder";
import type { RecentOutput } from "./recent-output.js";

/**
 * Reads what is kept of an output, then what is appended, until the output ends or `signal` is aborted. It keeps a position and
 * no text: what is gone by the time it is asked for is left out, and a line says so.
 */
export class Follower implements AsyncIterableIterator<string> {
  readonly #chunks: AsyncGenerator<string, void>;
  #isLeft = false;
  #wake = () => {};

  constructor(output: RecentOutput, signal: AbortSignal) {
    this.#chunks = this.#read(output, signal);
  }

  next(): Promise<IteratorResult<string, void>> {
    return this.#chunks.next();
  }

  /** A generator that waits takes notice only once it has something to give, so it is woken. */
  return(): Promise<IteratorResult<string, void>> {
    this.#isLeft = true;
    this.#wake();
    return this.#chunks.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async *#read(output: RecentOutput, signal: AbortSignal): AsyncGenerator<string, void> {
    const decoder = new StringDecoder("utf8");
    let readTo: number | undefined;
    while (!this.#isLeft && !signal.aborted) {
      const { position, bytes } = output.readFrom(readTo ?? 0);
      const leftOut = position - (readTo ?? position);
      readTo = position + bytes.length;
      const notice = leftOut > 0 ? `${decoder.end()}\n[… ${leftOut} bytes left out …]\n` : "";
      const text = notice + decoder.write(bytes);
      if (text) {
        yield text;
      } else if (output.isEnded) {
        // Of a character that never got whole.
        const rest = decoder.end();
        if (rest) yield rest;
        return;
      } else {
        await this.#more(output, signal);
      }
    }
  }

  /** Nothing knows of a follower that is not waiting, so there is nothing to free of one that is forgotten. */
  async #more(output: RecentOutput, signal: AbortSignal): Promise<void> {
    const more = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const wake = this.#wake;
    // Many may well follow with one signal: that is no leak.
    setMaxListeners(0, signal);
    signal.addEventListener("abort", wake);
    output.waiting.add(wake);
    await more;
    signal.removeEventListener("abort", wake);
    output.waiting.delete(wake);
  }
}
