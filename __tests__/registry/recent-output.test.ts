import fc from "fast-check";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Logs } from "../../lib/registry/logs.js";
import { RecentOutput } from "../../lib/registry/recent-output.js";
import { countHeld } from "../support/garbage.js";

/** The first byte of a character: none that such a one is followed by. */
const isFirst = (byte: number) => byte < 0x80 || byte > 0xbf;

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

  it("is the end of all that was appended, over many blocks", () => {
    // Lengths alone are drawn: fast-check keeps arrays themselves short, whatever length they may have.
    const lengths = fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 20 });
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 40_000 }), (given, maxBytes) => {
        const output = new RecentOutput(maxBytes);
        const total = given.reduce((sum, length) => sum + length, 0);
        const all = Buffer.alloc(
          total,
          Array.from({ length: 89 }, (_, index) => String.fromCharCode(33 + index)).join(""),
        );
        let at = 0;
        for (const length of given) {
          output.append(all.subarray(at, at + length));
          at += length;
        }
        expect(output.toString() === all.subarray(-maxBytes).toString()).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("leaves out a character that is cut where one piece alone is longer than all that is kept", () => {
    const output = new RecentOutput(99);
    output.append(Buffer.from("é".repeat(60)));
    expect(output.toString()).toBe("é".repeat(49));
  });

  it("is from a position on the end of all that was appended, as far as it is kept", () => {
    const chunk = fc.tuple(
      fc.integer({ min: 0, max: 30_000 }),
      fc.uint8Array({ minLength: 1, maxLength: 20 }),
    );
    fc.assert(
      fc.property(
        fc.array(chunk, { maxLength: 20 }),
        fc.integer({ min: 1, max: 40_000 }),
        fc.nat(),
        (chunks, maxBytes, seed) => {
          const output = new RecentOutput(maxBytes);
          let all = Buffer.alloc(0);
          for (const [length, pattern] of chunks) {
            const appended = Buffer.alloc(length, pattern);
            output.append(appended);
            all = Buffer.concat([all, appended]);
            const asked = seed % (all.length + 1);
            const { position, bytes } = output.readFrom(asked);
            expect(bytes.equals(all.subarray(position))).toBe(true);
            const firstKept = Math.max(0, all.length - maxBytes);
            const isCut = asked < firstKept;
            expect(position).toBe(
              isCut ? firstKept + Math.max(0, all.subarray(firstKept).findIndex(isFirst)) : asked,
            );
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("gives a copy, which does not change when more is appended", () => {
    const output = new RecentOutput(5000);
    output.append(Buffer.from("one"));
    const { bytes } = output.readFrom(0);
    for (let times = 0; times < 10_000; times++) output.append(Buffer.from("two"));
    expect(bytes.toString()).toBe("one");
  });

  it("holds no more than two blocks beside what it is to keep, however much is appended", async () => {
    const allocate = vi.spyOn(Buffer, "allocUnsafeSlow");
    onTestFinished(() => void allocate.mockRestore());
    const output = new RecentOutput(64 * 1024);
    const chunk = Buffer.alloc(10_000, "x");
    for (let times = 0; times < 1000; times++) output.append(chunk);
    const blocks = allocate.mock.results.map(({ value }) => new WeakRef(value as Buffer));
    allocate.mockReset();
    expect(blocks).toHaveLength(Math.ceil(10_000_000 / 4096));
    await expect.poll(() => countHeld(blocks)).toBeLessThanOrEqual((64 + 8) / 4);
    expect(output.toString()).toHaveLength(64 * 1024);
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

  it("end for those who follow them when they are forgotten", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const logs = new Logs();
    logs.open("m").append(Buffer.from("hello"));
    const log = logs.follow("m", new AbortController().signal)?.[Symbol.asyncIterator]();
    expect(await log?.next()).toEqual({ done: false, value: "hello" });
    logs.close("m");
    vi.advanceTimersByTime(600_001);
    expect(logs.follow("m", new AbortController().signal)).toBeUndefined();
    expect(await log?.next()).toEqual({ done: true, value: undefined });
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

  it("drop the one that ended first, not the one that was started first", () => {
    const logs = new Logs();
    for (let model = 0; model < 101; model++) logs.open(`m${model}`).append(Buffer.from(`${model}`));
    for (let model = 100; model >= 0; model--) logs.close(`m${model}`);
    expect(logs.read("m100")).toBeUndefined();
    expect(logs.read("m0")).toBe("0");
  });
});
