import { describe, expect, it } from "vitest";
import type { Model } from "../../lib/dashboard/page/api.js";
import { bytes, cores, duration, percent } from "../../lib/dashboard/page/format.js";
import { LogText } from "../../lib/dashboard/page/log-text.js";
import { compareBy, ordered } from "../../lib/dashboard/page/order.js";
import { rangeOf, Series } from "../../lib/dashboard/page/series.js";
import { stateOf } from "../../lib/dashboard/page/state.js";

describe("a figure of the page", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.00 KiB"],
    [1023.6 * 1024, "1.00 MiB"],
    [12.34 * 1024 ** 2, "12.3 MiB"],
    [9.996 * 1024 ** 2, "10.0 MiB"],
    [734 * 1024 ** 2, "734 MiB"],
    [1.5 * 1024 ** 4, "1.50 TiB"],
    [2 ** 64, "16.0 EiB"],
    [null, "unknown"],
  ])("of %s bytes is %s", (count, text) => expect(bytes(count)).toBe(text));

  it.each([
    [0, "0 %"],
    [0.04, "< 0.1 %"],
    [2.85, "2.9 %"],
    [9.96, "10 %"],
    [800.4, "800 %"],
    [null, "unknown"],
  ])("of %s percent is %s", (value, text) => expect(percent(value)).toBe(text));

  it.each([
    [0, "0 s"],
    [59_999, "59 s"],
    [3_599_000, "59 min"],
    [3 * 3_600_000 + 5 * 60_000, "3 h 5 min"],
    [50 * 3_600_000, "2 d 2 h"],
    [null, "unknown"],
  ])("of %s ms is %s", (ms, text) => expect(duration(ms)).toBe(text));

  it("of CPU is in cores", () => {
    expect([0, 5, 137, 1_230].map(cores)).toEqual(["0", "0.05", "1.37", "12.3"]);
  });
});

describe("the log of the page", () => {
  const whole =
    "a\u001b[1;31mred\u001b[0m \u001b]8;;http://x\u0007link\u001b]8;;\u001b\\ \u001b(Bb\r\nc\rd\u0000\u0008\te\n";
  const plain = "ared link b\nc\nd\te\n";

  it("has no sequences of a terminal", () => {
    expect(new LogText().add(whole)).toBe(plain);
  });

  it("is the same in whatever pieces it comes", () => {
    for (let first = 0; first <= whole.length; first++) {
      const text = new LogText();
      const pieces = [whole.slice(0, first), whole.slice(first, first + 3), whole.slice(first + 3)];
      expect(pieces.map((piece) => text.add(piece)).join("")).toBe(plain);
    }
  });

  it("goes on after a sequence that never ends", () => {
    const text = new LogText();
    expect(text.add(`a\u001b]${"x".repeat(10_000)}`)).toBe("a");
    expect(text.add("b")).toBe("b");
  });
});

describe("the last 15 minutes", () => {
  it("have a gap where nothing was sampled, and where nobody tells", () => {
    const series = new Series(1_000);
    series.push(0, 1, 1);
    series.push(1_000, 2, null);
    series.push(11_000, 3, 3);
    expect(series.at).toEqual([0, 1_000, 1_001, 11_000]);
    expect(series.memory).toEqual([1, 2, null, 3]);
    expect(series.cpu).toEqual([1, null, null, 3]);
    expect(rangeOf(series.memory)).toEqual({ now: 3, least: 1, most: 3 });
    expect(rangeOf([null])).toBeUndefined();
  });

  it("have none where samples are more often than the server remembers them", () => {
    const live = new Series(100);
    live.push(2_100, 3, 3);
    const history = { at: [0, 1_000, 2_000], memory: [1, 2, 3], cpu: [1, 2, 3] };
    expect(Series.joined(history, live).at).toEqual([0, 1_000, 2_000, 2_100]);
  });

  it("are no longer than that, and never ahead", () => {
    const series = new Series(60_000);
    for (let minute = 0; minute <= 30; minute++) series.push(minute * 60_000, minute, 0);
    expect(series.at).toHaveLength(16);
    expect(series.memory[0]).toBe(15);
    series.push(20 * 60_000 + 5, 99, 0);
    expect(series.memory.slice(-2)).toEqual([20, 99]);
  });
});

describe("a model of the page", () => {
  const model = (part: Partial<Model>): Model => ({
    name: "m",
    address: "",
    pid: null,
    loaded_since: null,
    process: null,
    shutdown: null,
    ...part,
  });
  const memory = { total: null, breakdown: {} };
  const unimplemented = { code: "UNIMPLEMENTED", message: "no such method" };

  it.each([
    [{ status: { state: 0, memory } }, "empty", "uninitialized", ""],
    [{ status: { state: 1, memory } }, "busy", "busy", ""],
    [{ status: { state: 2, memory } }, "ready", "ready", ""],
    [{ status: { state: -1, memory } }, "error", "error", ""],
    [{ status: { state: 7, memory } }, "unknown", "state 7", ""],
    [
      { status: { state: -1, memory, status_error: unimplemented } },
      "unknown",
      "unknown",
      "by the operating system: UNIMPLEMENTED – no such method",
    ],
    [{ error: { code: 500, type: "backend_error", message: "why" } }, "error", "failing", "why"],
    [{ status: { state: 2, memory }, shutdown: "freeing" as const }, "stopping", "freeing", ""],
  ])("%j looks as it is", (part, look, word, note) => {
    expect(stateOf(model(part))).toEqual({ look, word, note });
  });

  it("has its place in each order, and the last one where a figure is not known", () => {
    const cost = (rss: number) => ({
      processes: 1,
      rss,
      vms: null,
      memory_percent: 0,
      cpu_percent: null,
      cpu_seconds: 0,
    });
    const models = [
      model({ name: "m10", process: cost(1) }),
      model({ name: "m9" }),
      model({ name: "M2", process: cost(5) }),
    ];
    const names = (order: Parameters<typeof compareBy>[0]) =>
      models.toSorted(compareBy(order)).map(({ name }) => name);
    const byName = { column: "name", isDescending: false } as const;
    expect(names(byName)).toEqual(["M2", "m9", "m10"]);
    const byMemory = ordered("memory", byName);
    expect(names(byMemory)).toEqual(["M2", "m10", "m9"]);
    expect(names(ordered("memory", byMemory))).toEqual(["m10", "M2", "m9"]);
  });
});
