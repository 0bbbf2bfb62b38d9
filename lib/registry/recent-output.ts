/** Memory is taken in blocks of this size, so that a backend which prints little costs little. */
const BLOCK_BYTES = 4096;

/** A part of what was printed. */
interface Part {
  /** How many bytes were printed before it. */
  readonly position: number;
  readonly bytes: Buffer;
}

/** The last of what was printed, at most so many bytes of it, whatever the sizes in which it came. */
export class RecentOutput {
  /** Called when more is appended, and when nothing will be any more. */
  readonly waiting = new Set<() => void>();
  readonly #maxBytes: number;
  readonly #blocks: Buffer[] = [];
  /** How much of the last block is filled; the others are full. */
  #filled = BLOCK_BYTES;
  /** How many bytes were ever appended. */
  #appended = 0;
  #isEnded = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  append(chunk: Buffer): void {
    let rest = chunk.subarray(-this.#maxBytes);
    while (rest.length > 0) {
      if (this.#filled === BLOCK_BYTES) this.#addBlock();
      const copied = rest.copy(this.#blocks.at(-1) as Buffer, this.#filled);
      this.#filled += copied;
      rest = rest.subarray(copied);
    }
    this.#appended += chunk.length;
    this.#wake();
  }

  /** Nothing will be appended any more. */
  end(): void {
    this.#isEnded = true;
    this.#wake();
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** All from a position on. Where its first is no longer kept, it begins later, with the first byte of a character. */
  readFrom(position: number): Part {
    const firstKept = Math.max(0, this.#appended - this.#maxBytes);
    const start = Math.max(position, firstKept);
    const bytes = this.#last(this.#appended - start);
    const cut = position < firstKept ? bytes.findIndex((byte) => !isContinuation(byte)) : 0;
    const skipped = Math.max(0, cut);
    return { position: start + skipped, bytes: bytes.subarray(skipped) };
  }

  /** As text; a character whose first bytes are no longer kept is left out. */
  toString(): string {
    return this.readFrom(0).bytes.toString();
  }

  #addBlock(): void {
    // As many full ones as hold all that is to be kept, and the one that is being filled.
    if (this.#blocks.length > Math.ceil(this.#maxBytes / BLOCK_BYTES)) this.#blocks.shift();
    this.#blocks.push(Buffer.allocUnsafeSlow(BLOCK_BYTES));
    this.#filled = 0;
  }

  /** A copy of the last so many bytes: of the blocks that have them, and no others. */
  #last(length: number): Buffer {
    const end = this.#blocks.length * BLOCK_BYTES - (BLOCK_BYTES - this.#filled);
    const start = end - length;
    const block = Math.floor(start / BLOCK_BYTES);
    const bytes = Buffer.concat(this.#blocks.slice(block), end - block * BLOCK_BYTES);
    return bytes.subarray(start - block * BLOCK_BYTES);
  }

  #wake(): void {
    for (const wake of this.waiting) wake();
  }
}

/** The bytes of a UTF-8 character after its first. */
function isContinuation(byte: number): boolean {
  return (byte & 0b1100_0000) === 0b1000_0000;
}
