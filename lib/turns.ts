/**
 * Lets at most so many tasks be at work at a time. One that takes longer than `holdMs` waits for somebody else, and lets the
 * next one have its turn.
 */
export class Turns {
  readonly #holdMs: number;
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(atOnce: number, holdMs: number) {
    this.#free = atOnce;
    this.#holdMs = holdMs;
  }

  async take<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let isHeld = true;
    const giveBack = () => {
      if (!isHeld) return;
      isHeld = false;
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    };
    const timer = setTimeout(giveBack, this.#holdMs);
    try {
      return await task();
    } finally {
      clearTimeout(timer);
      giveBack();
    }
  }
}
