import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Bearers } from "../../lib/process/bearers.js";
import { idsIn } from "../../lib/process/identity.js";
import type { ProcessEntry } from "../../lib/process/reader.js";

describe("Bearers", () => {
  const process: ProcessEntry = { pid: 5, ppid: 1, startTime: 100, command: "x" };
  const environment = "A=1\0EXPRESS_BACKEND_MONITOR_ID=one two\0";

  it("are read again in the middle of starting a program, where the id is another's, and once they are gone", () => {
    const bearers = new Bearers();
    expect(bearers.learn(process, "")).toEqual([]);
    expect(bearers.idsOf(process)).toBeUndefined();
    bearers.learn(process, environment);
    expect(bearers.idsOf(process)).toEqual(["one", "two"]);
    expect(bearers.idsOf({ ...process, startTime: 101 })).toBeUndefined();
    bearers.forgetAllBut([process]);
    expect(bearers.idsOf(process)).toEqual(["one", "two"]);
    bearers.forgetAllBut([]);
    expect(bearers.idsOf(process)).toBeUndefined();
  });

  it("are not read again where the environment is hidden", () => {
    const bearers = new Bearers();
    bearers.learn(process, undefined);
    expect(bearers.idsOf(process)).toEqual([]);
  });

  it("are read once by all who ask, however long that takes", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const bearers = new Bearers();
    let answer = (_environment: string) => {};
    let reads = 0;
    const read = () => {
      reads++;
      return new Promise<string>((resolve) => {
        answer = resolve;
      });
    };
    const both = Promise.all([bearers.read(process, read), bearers.read(process, read)]);
    expect(reads).toBe(1);
    expect([bearers.idsOf(process), bearers.isReading(process)]).toEqual([undefined, true]);
    // One that hangs counts as a stranger, until it is known better.
    vi.advanceTimersByTime(10_001);
    expect(bearers.idsOf(process)).toEqual([]);
    answer(environment);
    expect(await both).toEqual([
      ["one", "two"],
      ["one", "two"],
    ]);
    expect([bearers.idsOf(process), bearers.isReading(process)]).toEqual([["one", "two"], false]);
  });

  it("may be read again where reading failed", async () => {
    const bearers = new Bearers();
    await expect(bearers.read(process, () => Promise.reject(new Error("EMFILE")))).rejects.toThrow("EMFILE");
    expect(bearers.isReading(process)).toBe(false);
    expect(await bearers.read(process, async () => environment)).toEqual(["one", "two"]);
  });
});

describe("idsIn", () => {
  it("reads the variable itself, and none whose name only begins alike", () => {
    const [other, own] = ["EXPRESS_BACKEND_MONITOR_ID_2=x", "EXPRESS_BACKEND_MONITOR_ID=one two"];
    expect(idsIn(`A=1\0${other}\0${own}\0B=2\0`)).toEqual(["one", "two"]);
    expect(idsIn(`${other}\0`)).toEqual([]);
  });
});
