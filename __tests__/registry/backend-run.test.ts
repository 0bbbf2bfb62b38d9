import { afterEach, describe, expect, it, vi } from "vitest";
import { systemReader } from "../../lib/process/system.js";
import { BackendRun } from "../../lib/registry/backend-run.js";
import { RecentOutput } from "../../lib/registry/recent-output.js";
import { canChoosePid, isLinux, isRunning, startWithPid } from "../support/processes.js";

afterEach(() => void vi.restoreAllMocks());

function run(script: string): BackendRun {
  return new BackendRun(
    { command: "sh", args: ["-c", script], env: {}, cwd: undefined },
    new RecentOutput(1000),
  );
}

/** Has a stranger get the process id of a backend that has ended, and then ends what is left of the backend. */
async function expectStrangerLeftAlone(backend: BackendRun, before = () => {}): Promise<void> {
  await backend.exited;
  const stranger = await startWithPid(backend.pid ?? 0);
  before();
  await backend.terminate(100);
  expect(isRunning(stranger.pid)).toBe(true);
}

describe.skipIf(!isLinux)("BackendRun", () => {
  it("ends with what comes out of its pipes a moment after its process", async () => {
    const backend = run("(sleep 0.2; echo late >&2) & exit 3");
    expect(await backend.end()).toEqual({ code: 3, signal: null, stderr: "late" });
    await backend.terminate(0);
  });

  describe.skipIf(!canChoosePid)("leaves a process alone that has the id of its own by then", () => {
    it("where nobody looked at the tree before", async () => {
      await expectStrangerLeftAlone(run("sleep 0.1"));
    });

    it("where its start time could not be read before", async () => {
      vi.spyOn(systemReader, "find").mockRejectedValueOnce(new Error("no more files"));
      await expectStrangerLeftAlone(run("sleep 0.1"));
    });

    it("where its start time is read when it has ended", async () => {
      const { find } = systemReader;
      let read = () => {};
      const readAt = new Promise<void>((resolve) => {
        read = resolve;
      });
      vi.spyOn(systemReader, "find").mockImplementationOnce((pid) => readAt.then(() => find(pid)));
      await expectStrangerLeftAlone(run("sleep 0.1"), read);
    });
  });
});
