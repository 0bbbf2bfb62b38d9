import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { portable } from "../../lib/process/portable.js";
import { procfs } from "../../lib/process/procfs.js";
import type { ProcessReader } from "../../lib/process/reader.js";
import { sampleWith } from "../../lib/process/stats.js";
import { REPORT, STATUS_TIMEOUT_MS, undisturbed } from "../support/faults.js";
import { hasMemory, neverReplies, serveBackend } from "../support/grpc.js";
import { freePort, hasPs, isLinux, kernelAgeMs, kernelCpuMs, startScript } from "../support/processes.js";

const HOUR_MS = 3_600_000;
const RealDate = Date;

/** Only what tells the time of day is another: clocks that never jump, and timers, go on as when somebody sets the clock. */
function setClock(byMs: number) {
  class SetDate extends RealDate {
    constructor(...given: [number]) {
      super(...(given.length > 0 ? given : ([SetDate.now()] as [number])));
    }
    static override now() {
      return RealDate.now() + byMs;
    }
  }
  vi.stubGlobal("Date", SetDate);
  onTestFinished(() => void vi.unstubAllGlobals());
}

/** Where the CPU time of a process stands by the kernel's word, and when it was zero. */
function look(pid: number) {
  const at = performance.now();
  return { at, cpuMs: kernelCpuMs(pid), start: { at: at - kernelAgeMs(pid), cpuMs: 0 } };
}

type Look = Pick<ReturnType<typeof look>, "at" | "cpuMs">;
/** Just before a sample, and just after it: however long the machine lets us wait, what was sampled lies in between. */
type Around = [before: Look, after: Look];

function expectPercent(percent: unknown, from: Around, to: Around, stepMs: number) {
  const lowest = (to[0].cpuMs - from[1].cpuMs - stepMs) / (to[1].at - from[0].at + stepMs);
  const highest = (to[1].cpuMs - from[0].cpuMs + stepMs) / (to[0].at - from[1].at - stepMs);
  expect(percent).toBeGreaterThanOrEqual(Math.max(0, 100 * lowest));
  expect(percent).toBeLessThanOrEqual(100 * highest);
}

const readers: [string, ProcessReader, isMissing: boolean, intervalMs: number, stepMs: number][] = [
  ["/proc", procfs, !isLinux, 600, 20],
  ["ps-list and pidusage", portable, !isLinux || !hasPs, 1800, 1000],
];

for (const [name, reader, isMissing, intervalMs, stepMs] of readers) {
  describe.skipIf(isMissing)(`CPU by ${name}`, () => {
    it("is right though the clock is set by an hour, also in the middle of a sample", async () => {
      const { pid } = await startScript("burn.mjs");
      const first = look(pid);
      let previous = await sampleWith(reader, pid);
      let from: Around = [first, look(pid)];
      const { startTime } = previous;
      for (const byMs of [-HOUR_MS, HOUR_MS]) {
        await delay(intervalMs);
        const settingClock: ProcessReader = {
          ...reader,
          usage: (processes) => {
            setClock(byMs);
            return reader.usage(processes);
          },
        };
        const before = look(pid);
        const sample = await sampleWith(settingClock, pid, { previous, startTime });
        const to: Around = [before, look(pid)];
        expect(sample.history.cpu.base).toBe(previous.history.cpu.latest);
        expectPercent(sample.cpuPercent, from, to, stepMs);
        [previous, from] = [sample, to];
      }
    });

    it("is right at the first sample, too, and knows the process again by its start", async () => {
      const { pid } = await startScript("burn.mjs");
      const { startTime } = await sampleWith(reader, pid);
      await delay(intervalMs);
      for (const byMs of [-HOUR_MS, HOUR_MS]) {
        setClock(byMs);
        const before = look(pid);
        const { cpuPercent } = await sampleWith(reader, pid, { startTime });
        expectPercent(cpuPercent, [before.start, before.start], [before, look(pid)], stepMs);
      }
    });
  });
}

describe.skipIf(!isLinux)("a clock that is set back and forward by an hour", () => {
  it("changes no figure, and no deadline", async () => {
    const burning = await startScript("burn.mjs");
    const silent = await serveBackend({ Status: neverReplies });
    const nobody = `127.0.0.1:${await freePort()}`;
    await undisturbed(async ({ models, pid, monitor }) => {
      models.register({ name: "burning", address: nobody, pid: burning.pid });
      models.register({ name: "silent", address: silent.address, pid });
      const first = look(burning.pid);
      await monitor("burning");
      let from: Around = [first, look(burning.pid)];
      for (const byMs of [-HOUR_MS, HOUR_MS]) {
        const deadline = monitor("silent");
        await delay(STATUS_TIMEOUT_MS / 2);
        setClock(byMs);
        expect((await deadline).json).toMatchObject({
          state: -1,
          status_error: { code: "DEADLINE_EXCEEDED" },
        });
        const before = look(burning.pid);
        const { json } = await monitor("burning");
        const to: Around = [before, look(burning.pid)];
        expect(json).toMatchObject({ state: -1, status_error: { code: "UNAVAILABLE" } });
        expectPercent(json.cpu_percent, from, to, 20);
        from = to;
      }
      silent.stop();
    });
  });

  it("keeps no backend that comes back from being seen", async () => {
    const backend = await serveBackend({ Status: hasMemory });
    await undisturbed(async ({ models, pid, monitor }) => {
      models.register({ name: "m", address: backend.address, pid });
      expect((await monitor("m")).json).toEqual(REPORT);
      backend.stop();
      setClock(-HOUR_MS);
      // For so long that gRPC's own pauses between attempts have grown to more than two seconds.
      for (const since = performance.now(); performance.now() - since < 3000; await delay(100)) {
        expect((await monitor("m")).json).toMatchObject({ status_error: { code: "UNAVAILABLE" } });
      }
      const { stop } = await serveBackend({ Status: hasMemory }, backend.address);
      const since = performance.now();
      await expect.poll(async () => (await monitor("m")).json).toEqual(REPORT);
      expect(performance.now() - since).toBeLessThan(2000);
      stop();
    });
  });
});
