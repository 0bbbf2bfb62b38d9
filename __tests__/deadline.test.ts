import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { untilAborted } from "../lib/deadline.js";

describe("untilAborted", () => {
  const never = new Promise<never>(() => {});
  it("rejects at once where the signal was aborted before", async () => {
    await expect(untilAborted(never, AbortSignal.abort(new Error("before")))).rejects.toThrow("before");
  });

  it("leaves no listener behind", async () => {
    const { signal } = new AbortController();
    await untilAborted(Promise.resolve(), signal);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});
