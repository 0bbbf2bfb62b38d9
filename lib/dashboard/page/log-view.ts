import { textElement } from "./dom.js";

const MOST_LINES = 5_000;
const MOST_CHARACTERS = 512 * 1024;

/** What is dropped is dropped in blocks of about that size. */
const BLOCK_LINES = 100;
const BLOCK_CHARACTERS = 16 * 1024;

/** How far from the end, in pixels, still is at the end. */
const END_PX = 24;

interface Block {
  readonly element: HTMLElement;
  lines: number;
  characters: number;
}

/** The end of a log. It follows what is added, unless the reader has scrolled away from there. */
export class LogView {
  readonly #element: HTMLElement;
  readonly #followed: (isFollowing: boolean) => void;
  #blocks: Block[] = [];
  #isFollowing = true;

  /** `followed` is told whether it follows. */
  constructor(element: HTMLElement, followed: (isFollowing: boolean) => void) {
    this.#element = element;
    this.#followed = followed;
    // A keyboard scrolls what has the focus.
    element.tabIndex = 0;
    element.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = element;
      this.#follow(scrollHeight - scrollTop - clientHeight < END_PX);
    });
  }

  clear(): void {
    this.#blocks = [];
    this.#element.replaceChildren();
    this.toEnd();
  }

  toEnd(): void {
    this.#follow(true);
    this.#element.scrollTop = this.#element.scrollHeight;
  }

  add(text: string): void {
    const lines = text
      .slice(-MOST_CHARACTERS)
      .split(/(?<=\n)/)
      .slice(-MOST_LINES);
    for (let from = 0; from < lines.length; from += BLOCK_LINES) {
      const block = lines.slice(from, from + BLOCK_LINES).join("");
      for (let start = 0; start < block.length; start += BLOCK_CHARACTERS) {
        this.#append(block.slice(start, start + BLOCK_CHARACTERS));
      }
    }
    this.#dropOldest();
    if (this.#isFollowing) this.toEnd();
  }

  #append(text: string): void {
    let block = this.#blocks.at(-1);
    if (!block || block.lines >= BLOCK_LINES || block.characters >= BLOCK_CHARACTERS) {
      block = { element: textElement("span", ""), lines: 0, characters: 0 };
      this.#blocks.push(block);
      this.#element.append(block.element);
    }
    block.element.append(text);
    block.element.normalize();
    block.lines += text.split("\n").length - 1;
    block.characters += text.length;
  }

  #dropOldest(): void {
    let lines = 0;
    let characters = 0;
    for (let index = this.#blocks.length - 1; index >= 0; index--) {
      lines += this.#blocks[index]?.lines ?? 0;
      characters += this.#blocks[index]?.characters ?? 0;
      if (lines <= MOST_LINES && characters <= MOST_CHARACTERS) continue;
      for (const { element } of this.#blocks.splice(0, index + 1)) element.remove();
      return;
    }
  }

  #follow(isFollowing: boolean): void {
    this.#isFollowing = isFollowing;
    this.#followed(isFollowing);
  }
}
