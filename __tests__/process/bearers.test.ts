import { describe, expect, it } from "vitest";
import { Bearers } from "../../lib/process/bearers.js";
import { idsIn } from "../../lib/process/identity.js";
import type { ProcessEntry } from "../../lib/process/reader.js";

describe("Bearers", () => {
  const process: ProcessEntry = { pid: 5, ppid: 1, startTime: 100, command: "x" };
  const environment = "A=1\0EXPRESS_BACKEND_MONITOR_ID=one two\0";
  it("are read again in the middle of starting a program, where the id is another's, and once they are gone", () => {
    const bearers = new Bearers();
    bearers.learn(process, "");
    expect(bearers.knows(process)).toBe(false);
    bearers.learn(process, environment);
    expect(bearers.knows(process)).toBe(true);
    expect([bearers.bear(process, "two"), bearers.bear(process, "tw")]).toEqual([true, false]);
    const other = { ...process, startTime: 101 };
    expect([bearers.knows(other), bearers.bear(other, "two")]).toEqual([false, false]);
    bearers.forgetAllBut([process]);
    expect(bearers.knows(process)).toBe(true);
    bearers.forgetAllBut([]);
    expect(bearers.knows(process)).toBe(false);
  });
  it("are not read again where the environment is hidden", () => {
    const bearers = new Bearers();
    bearers.learn(process, undefined);
    expect([bearers.knows(process), bearers.bear(process, "two")]).toEqual([true, false]);
  });
});

describe("idsIn", () => {
  it("reads the variable itself, and none whose name only begins alike", () => {
    const [other, own] = ["EXPRESS_BACKEND_MONITOR_ID_2=x", "EXPRESS_BACKEND_MONITOR_ID=one two"];
    expect(idsIn(`A=1\0${other}\0${own}\0B=2\0`)).toEqual(["one", "two"]);
    expect(idsIn(`${other}\0`)).toEqual([]);
  });
});
