import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { portable } from "../../lib/process/portable.js";
import { procfs } from "../../lib/process/procfs.js";
import type { ProcessReader } from "../../lib/process/reader.js";
import { sampleWith } from "../../lib/process/stats.js";
import { expectPercent, lookAround, lookAtStart } from "../support/cpu.js";
import { REPORT, STATUS_TIMEOUT_MS, undisturbed } from "../support/faults.js";
import { hasMemory, neverReplies, serveBackend } from "../support/grpc.js";
import { freePort, hasPs, isLinux, startScript } from "../support/processes.js";

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

const readers: [string, ProcessReader, isMissing: boolean, intervalMs: number, stepMs: number][] = [
  ["/proc", procfs, !isLinux, 600, 20],
  ["ps-list and pidusage", portable, !isLinux || !hasPs, 1800, 1000],
];

for (const [name, reader, isMissing, intervalMs, stepMs] of readers) {
  describe.skipIf(isMissing)(`CPU by ${name}`, () => {
    it("is right though the clock is set by an hour, also in the middle of a sample", async () => {
      const { pid } = await startScript("burn.mjs");
      let [previous, from] = await lookAround([pid], () => sampleWith(reader, pid));
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
        const [sample, to] = await lookAround([pid], () =>
          sampleWith(settingClock, pid, { previous, startTime }),
        );
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
        const start = lookAtStart(pid);
        const [sample, to] = await lookAround([pid], () => sampleWith(reader, pid, { startTime }));
        expectPercent(sample.cpuPercent, [start, start], to, stepMs);
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
      let [, from] = await lookAround([burning.pid], () => monitor("burning"));
      for (const byMs of [-HOUR_MS, HOUR_MS]) {
        const deadline = monitor("silent");
        await delay(STATUS_TIMEOUT_MS / 2);
        setClock(byMs);
        expect((await deadline).json).toMatchObject({
          state: -1,
          status_error: { code: "DEADLINE_EXCEEDED" },
        });
        const [{ json }, to] = await lookAround([burning.pid], () => monitor("burning"));
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
