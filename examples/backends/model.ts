/** A model that is nothing but its memory: weights that are there from the start, and a cache that grows with use. */

const MIB = 1024 * 1024;
const WEIGHTS_BYTES = 64 * MIB;
const CACHE_BYTES_PER_TOKEN = MIB;
const TOKEN_MS = 50;

export class Model {
  // Filled with something, because the system gives memory only to pages that are written to.
  #weights = Buffer.alloc(WEIGHTS_BYTES, "weights");
  #cache: Buffer[] = [];
  #predictions = 0;

  get isBusy(): boolean {
    return this.#predictions > 0;
  }

  /** All that this process has in memory, in bytes, and what of it the model holds. */
  get memory(): { total: number; breakdown: Record<string, number> } {
    const total = process.memoryUsage.rss();
    const weights = this.#weights.length;
    const kv_cache = this.#cache.reduce((sum, { length }) => sum + length, 0);
    return { total, breakdown: { weights, kv_cache, runtime: Math.max(0, total - weights - kv_cache) } };
  }

  async predict(prompt: string, tokens: number): Promise<string> {
    this.#predictions++;
    try {
      const words: string[] = [];
      for (let token = 0; token < tokens; token++) {
        this.#cache.push(Buffer.alloc(CACHE_BYTES_PER_TOKEN, prompt || "-"));
        await new Promise((resolve) => setTimeout(resolve, TOKEN_MS));
        words.push("la");
      }
      return words.join(" ");
    } finally {
      this.#predictions--;
    }
  }

  free(): void {
    this.#weights = Buffer.alloc(0);
    this.#cache = [];
  }
}
