/** Memory is taken in blocks of this size, so that a backend which prints little costs little. */
const BLOCK_BYTES = 4096;

/** The last of what was printed, at most so many bytes of it, whatever the sizes in which it came. */
export class RecentOutput {
  readonly #maxBytes: number;
  readonly #blocks: Buffer[] = [];
  /** How much of the last block is filled; the others are full. */
  #filled = BLOCK_BYTES;

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
  }

  #addBlock(): void {
    // As many full ones as hold all that is to be kept, and the one that is being filled.
    if (this.#blocks.length > Math.ceil(this.#maxBytes / BLOCK_BYTES)) this.#blocks.shift();
    this.#blocks.push(Buffer.allocUnsafeSlow(BLOCK_BYTES));
    this.#filled = 0;
  }

  /** As text; a character whose first bytes are no longer kept is left out. */
  toString(): string {
    const length = Math.max(0, this.#blocks.length - 1) * BLOCK_BYTES + (this.#blocks.length && this.#filled);
    const bytes = Buffer.concat(this.#blocks, length).subarray(-this.#maxBytes);
    const isCut = bytes.length < length || length >= this.#maxBytes;
    const start = isCut ? bytes.findIndex((byte) => !isContinuation(byte)) : 0;
    return bytes.toString("utf8", Math.max(0, start));
  }
}

/** The bytes of a UTF-8 character after its first. */
function isContinuation(byte: number): boolean {
  return (byte & 0b1100_0000) === 0b1000_0000;
}
