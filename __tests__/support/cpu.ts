import { expect } from "vitest";
import { kernelAgeMs, kernelCpuMs } from "./processes.js";

/** Where the CPU time of some processes stands by the kernel's word. */
export interface Look {
  at: number;
  cpuMs: number;
}

/** Just before a sample, and just after it: however long the machine lets us wait, what was sampled lies in between. */
export type Around = [before: Look, after: Look];

export function look(...pids: number[]): Look {
  return { at: performance.now(), cpuMs: pids.reduce((sum, pid) => sum + kernelCpuMs(pid), 0) };
}

/** When the CPU time of a process was zero. */
export function lookAtStart(pid: number): Look {
  return { at: performance.now() - kernelAgeMs(pid), cpuMs: 0 };
}

/** What `read` resolves with, and the looks around it. */
export async function lookAround<T>(pids: number[], read: () => Promise<T>): Promise<[T, Around]> {
  const before = look(...pids);
  const result = await read();
  return [result, [before, look(...pids)]];
}

/** Holds a percentage against the kernel's word; `stepMs` is how exact the times are that it was made of. */
export function expectPercent(percent: unknown, from: Around, to: Around, stepMs: number) {
  const lowest = (to[0].cpuMs - from[1].cpuMs - stepMs) / (to[1].at - from[0].at + stepMs);
  const highest = (to[1].cpuMs - from[0].cpuMs + stepMs) / (to[0].at - from[1].at - stepMs);
  expect(percent).toBeGreaterThanOrEqual(Math.max(0, 100 * lowest));
  expect(percent).toBeLessThanOrEqual(100 * highest);
}
