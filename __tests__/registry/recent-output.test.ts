import fc from "fast-check";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Logs } from "../../lib/registry/logs.js";
import { RecentOutput } from "../../lib/registry/recent-output.js";

describe("RecentOutput", () => {
  it("is the end of all that was appended", () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 30_000 }), { maxLength: 20 });
    fc.assert(
      fc.property(chunks, fc.integer({ min: 1, max: 40_000 }), (given, maxBytes) => {
        const output = new RecentOutput(maxBytes);
        // ASCII, so that each byte is a character.
        const all = given.map((chunk) => Buffer.from(chunk.map((byte) => byte & 0x7f)));
        for (const chunk of all) output.append(chunk);
        expect(output.toString()).toBe(Buffer.concat(all).subarray(-maxBytes).toString());
      }),
      { numRuns: 300 },
    );
  });

  it("leaves out a character whose first bytes are gone, and puts those together that come in pieces", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 50 }),
        fc.integer({ min: 4, max: 60 }),
        (text, max) => {
          const output = new RecentOutput(max);
          for (const byte of Buffer.from(text)) output.append(Buffer.of(byte));
          const shown = output.toString();
          expect(text.endsWith(shown)).toBe(true);
          expect(Buffer.byteLength(shown)).toBeGreaterThanOrEqual(Math.min(Buffer.byteLength(text), max - 3));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("keeps bytes that are no UTF-8 from hiding the others", () => {
    const output = new RecentOutput(100);
    output.append(Buffer.from([0x80, 0x81]));
    output.append(Buffer.from("visible"));
    expect(output.toString()).toBe("\uFFFD\uFFFDvisible");
  });
});

describe("Logs", () => {
  it("keep what an ended model printed for ten minutes", () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const logs = new Logs();
    logs.open("m").append(Buffer.from("hello"));
    vi.advanceTimersByTime(3_600_000);
    logs.close("m");
    vi.advanceTimersByTime(600_000);
    expect(logs.read("m")).toBe("hello");
    vi.advanceTimersByTime(1);
    expect(logs.read("m")).toBeUndefined();
  });

  it("go on where a model of the name comes back", () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const logs = new Logs();
    logs.open("m").append(Buffer.from("first, "));
    logs.close("m");
    logs.open("m").append(Buffer.from("second"));
    vi.advanceTimersByTime(3_600_000);
    expect(logs.read("m")).toBe("first, second");
  });

  it("keep those of the last hundred that ended, and of all that did not", () => {
    const logs = new Logs();
    for (let model = 0; model < 150; model++) logs.open(`running ${model}`);
    for (let model = 0; model < 101; model++) logs.open(`ended ${model}`).append(Buffer.from(`${model}`));
    for (let model = 0; model < 101; model++) logs.close(`ended ${model}`);
    expect(logs.read("ended 0")).toBeUndefined();
    expect(logs.read("ended 1")).toBe("1");
    expect(logs.read("ended 100")).toBe("100");
    expect(logs.read("running 0")).toBe("");
  });
});
