import { describe, expect, it } from "vitest";
import { planOf } from "../../lib/registry/plan.js";

describe("planOf", () => {
  it("starts a command without arguments as it is, waits for a minute, and does not start it again", () => {
    expect(planOf({ name: "m", command: "x" })).toEqual({
      name: "m",
      command: { command: "x", args: [], env: {}, cwd: undefined },
      address: undefined,
      readyTimeoutMs: 60_000,
      restart: undefined,
    });
  });

  it("restarts five times, after a second at first and a minute at most, where it is not told otherwise", () => {
    const restart = { maxRetries: 5, minDelayMs: 1_000, maxDelayMs: 60_000 };
    expect(planOf({ name: "m", command: "x", restart: {} }).restart).toEqual(restart);
  });
});
