import { rmSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { failedStatus, frozenProcess, PATIENT, REPORT, undisturbed } from "../support/faults.js";
import { end, freePort, isLinux, startScript } from "../support/processes.js";
import { temporaryFolder } from "../support/supervisor.js";

const hasIpv6 = Object.values(networkInterfaces()).some((own) =>
  own?.some(({ address }) => address === "::1"),
);

/** A backend that listens as net.Server has it. */
function listenAt(options: object) {
  return startScript("reporting.mjs", ["--listen", JSON.stringify(options)]);
}

describe.skipIf(!isLinux)("an address", () => {
  it.each(["no-such-host.invalid:1", "dns:///no-such-host.invalid:1"])(
    "that does not resolve, %s, is answered for by the process",
    async (address) => {
      const pid = await frozenProcess();
      await undisturbed(async ({ models, monitor }) => {
        models.register({ name: "m", address, pid });
        for (let polls = 0; polls < 2; polls++) {
          // A name server may take its time.
          const code = expect.stringMatching(/^(UNAVAILABLE|DEADLINE_EXCEEDED)$/);
          expect((await monitor("m")).json).toEqual(failedStatus(code, pid));
        }
      });
    },
  );

  it("that is nobody's port is answered for by the process", async () => {
    const pid = await frozenProcess();
    await undisturbed(async ({ models, monitor }) => {
      models.register({ name: "m", address: `127.0.0.1:${await freePort()}`, pid });
      for (let polls = 0; polls < 2; polls++) {
        expect((await monitor("m")).json).toEqual(failedStatus("UNAVAILABLE", pid));
      }
    }, PATIENT);
  });

  it.skipIf(!hasIpv6)("of IPv6 is the backend's, and the process' when it is refused", async () => {
    const pid = await frozenProcess();
    await undisturbed(async ({ models, monitor }) => {
      const backend = await listenAt({ host: "::1", port: 0 });
      models.register({ name: "m", address: `[::1]:${backend.words[0]}`, pid });
      expect((await monitor("m")).json).toEqual(REPORT);
      await end(backend.pid);
      expect((await monitor("m")).json).toEqual(failedStatus("UNAVAILABLE", pid));
    }, PATIENT);
  });

  it("of a unix socket is the backend's while that is there, whether or not its file is", async () => {
    const pid = await frozenProcess();
    await undisturbed(async ({ models, monitor }) => {
      const path = join(temporaryFolder(), "backend.sock");
      models.register({ name: "m", address: `unix:${path}`, pid });
      expect((await monitor("m")).json).toEqual(failedStatus("UNAVAILABLE", pid));

      const backend = await listenAt({ path });
      await expect.poll(async () => (await monitor("m")).json, { timeout: 4_000 }).toEqual(REPORT);
      rmSync(path);
      expect((await monitor("m")).json).toEqual(REPORT);

      await end(backend.pid);
      for (let polls = 0; polls < 2; polls++) {
        expect((await monitor("m")).json).toEqual(failedStatus("UNAVAILABLE", pid));
      }
    }, PATIENT);
  });
});
