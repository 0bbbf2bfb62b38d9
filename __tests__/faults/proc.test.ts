import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { portable } from "../../lib/process/portable.js";
import { sampleWith } from "../../lib/process/stats.js";
import { kernelFigures, REPORT, undisturbed } from "../support/faults.js";
import { replies, serveBackend } from "../support/grpc.js";
import { undisturbedProcess } from "../support/host-process.js";
import { type Answer, json } from "../support/http.js";
import {
  canChoosePid,
  end,
  freePort,
  freeze,
  isLinux,
  isRunning,
  start,
  startScript,
  startWithPid,
} from "../support/processes.js";

const stats = new URL("../../dist/process/stats.js", import.meta.url).href;

const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;

/** Begins a command in a mount namespace of its own, where something else is mounted over /proc. */
const withProc = (...mount: string[]) => [
  "unshare",
  "-m",
  "sh",
  "-c",
  `mount ${mount.join(" ")} /proc && exec "$@"`,
  "sh",
];
const HIDING = (hidepid: number) => withProc("-t", "proc", "-o", `hidepid=${hidepid}`, "proc");
const EMPTY = withProc("-t", "tmpfs", "none");
const canMount = (within: string[]) => {
  const [command = "", ...args] = within;
  return spawnSync(command, [...args, "true"]).status === 0;
};
const canHideProcesses = isLinux && canMount(HIDING(2));
const canDoWithoutProc = isLinux && canMount(EMPTY);

const NO_FIGURES = {
  memory: { total: null, breakdown: {} },
  memory_info: { rss: null, vms: null },
  memory_percent: null,
  cpu_percent: null,
};

const UNLISTED =
  "processes can't be listed on this machine: it has no procfs, and no program that lists them (ps) works";

/** A process that does not change; of another user where it is said of whom. */
async function startFrozen(user?: number) {
  const options = user === undefined ? {} : { uid: user, gid: user };
  const { pid } = await start("sh", ["-c", "echo $$; exec sleep 60"], options);
  await freeze(pid);
  return pid;
}

/** One address for each of the first three cases of the contract. */
async function backends() {
  const reporting = await startScript("reporting.mjs");
  const stateOnly = await serveBackend({ Status: replies({ state: 1 }) });
  return {
    A: `127.0.0.1:${reporting.words[0]}`,
    B: stateOnly.address,
    C: `127.0.0.1:${await freePort()}`,
  };
}

/** Both fail, and the message names both causes. */
function expectNeither({ status, json }: Answer, reason: string) {
  expect([status, json.error.code, json.error.type]).toEqual([500, 500, "backend_error"]);
  expect(json.error.message).toMatch(
    // Nobody listens there, unless another test has been given the port meanwhile.
    /^model "[^"]+": its backend's Status call failed \(UNAVAILABLE: /,
  );
  expect(json.error.message).toContain(`), and its process can't be sampled (${reason})`);
}

describe.skipIf(!canHideProcesses).each([1, 2])(
  "/proc with hidepid=%i, and a host that is not root",
  (hidepid) => {
    it("shows no figures of another user's process, and says so", async () => {
      const { A, B, C } = await backends();
      const [hidden, visible] = [await startFrozen(), await startFrozen(NOBODY)];
      const registered = [
        { name: "A", address: A, pid: hidden },
        { name: "B", address: B, pid: hidden },
        { name: "C", address: C, pid: hidden },
        { name: "visible", address: C, pid: visible },
      ];
      const own = [{ name: "own", address: C, pid: hidden }];
      await undisturbedProcess(
        { registered, own, user: NOBODY },
        async ({ monitor, send }) => {
          expect((await monitor("A")).json).toEqual(REPORT);
          expect((await monitor("B")).json).toEqual({ state: 1, ...NO_FIGURES });
          expectNeither(await monitor("C"), "no process of it can be seen on this machine");
          expectNeither(
            await monitor("own"),
            `process ${hidden} is another user's, and this system hides it`,
          );
          expect((await monitor("visible")).json).toMatchObject({ state: -1, ...kernelFigures(visible) });

          const stop = await send("/backend/shutdown", json({ model: "C", force: true }));
          expect(stop).toMatchObject({ status: 500, json: { error: { type: "backend_error" } } });
          expect(stop.json.error.message).toMatch(
            /^model "C" can't be stopped: no process of it can be seen on this machine; register/,
          );
          expect(isRunning(hidden)).toBe(true);
        },
        { within: HIDING(hidepid) },
      );
    });
  },
);

it.skipIf(!canHideProcesses)(
  "/proc that hides a process does not spoil what is sampled with it",
  async () => {
    const [hidden, visible] = [await startFrozen(), await startFrozen(NOBODY)];
    const sample = `
    const { sampleProcesses } = await import(${JSON.stringify(stats)});
    process.setgid(${NOBODY});
    process.setuid(${NOBODY});
    const outcomes = await sampleProcesses([{ pid: ${hidden} }, { pid: ${visible} }, { pid: 4194305 }]);
    console.log(JSON.stringify(outcomes.map(({ message, rss }) => message ?? rss)));
  `;
    const [command = "", ...args] = [...HIDING(2), process.execPath, "--input-type=module", "-e", sample];
    expect(JSON.parse(execFileSync(command, args).toString())).toEqual([
      `process ${hidden} is another user's, and this system hides it`,
      kernelFigures(visible).memory.total,
      "process 4194305 does not exist",
    ]);
  },
);

describe.skipIf(!canDoWithoutProc)("no /proc at all", () => {
  it.each([
    ["", [...EMPTY]],
    [", nor ps", [...EMPTY, "env", "PATH="]],
  ])("leaves what the backends say%s", async (_what, within) => {
    const { A, B, C } = await backends();
    const pid = await startFrozen();
    const registered = [
      { name: "A", address: A, pid },
      { name: "B", address: B, pid },
      { name: "C", address: C, pid },
    ];
    const own = [
      { name: "own B", address: B, pid },
      { name: "own C", address: C, pid },
    ];
    await undisturbedProcess(
      { registered, own },
      async ({ monitor }) => {
        expect((await monitor("A")).json).toEqual(REPORT);
        expect((await monitor("B")).json).toEqual({ state: 1, ...NO_FIGURES });
        expect((await monitor("own B")).json).toEqual({ state: 1, ...NO_FIGURES });
        expectNeither(await monitor("C"), "no process of it can be seen on this machine");
        expectNeither(await monitor("own C"), UNLISTED);
        expect(isRunning(pid)).toBe(true);
      },
      { within },
    );
  });
});

describe("no ps", () => {
  it.skipIf(!isLinux)("is of no concern where there is /proc", async () => {
    const [{ C }, pid] = [await backends(), await startFrozen()];
    await undisturbedProcess(
      { registered: [{ name: "C", address: C, pid }] },
      async ({ monitor, send }) => {
        expect((await monitor("C")).json).toMatchObject({ state: -1, ...kernelFigures(pid) });
        const stop = await send("/backend/shutdown", json({ model: "C" }));
        expect(stop.json).toEqual({ message: "model stopped" });
        expect(isRunning(pid)).toBe(false);
      },
      { env: { ...process.env, PATH: "" } },
    );
  });

  // On Windows no ps is used.
  it.skipIf(process.platform === "win32")("is what is said where only ps could tell", async () => {
    vi.stubEnv("PATH", "");
    const sampling = sampleWith(portable, process.pid).finally(() => vi.unstubAllEnvs());
    await expect(sampling).rejects.toThrow(UNLISTED);
  });
});

describe.skipIf(!isLinux)("a process of another user", () => {
  it.skipIf(!isRoot)("is sampled by a host that is not root, but not stopped", async () => {
    const [{ C }, pid] = [await backends(), await startFrozen()];
    await undisturbedProcess(
      { registered: [{ name: "C", address: C, pid }], user: NOBODY },
      async ({ monitor, send }) => {
        expect((await monitor("C")).json).toMatchObject({ state: -1, ...kernelFigures(pid) });
        const stop = await send("/backend/shutdown", json({ model: "C", force: true }));
        expect(stop).toMatchObject({ status: 500, json: { error: { type: "backend_error" } } });
        expect(stop.json.error.message).toContain(
          `the operating system does not permit to stop these processes: ${pid} ("`,
        );
        expect(isRunning(pid)).toBe(true);
        expect((await monitor("C")).json).toMatchObject({ state: -1, ...kernelFigures(pid) });
      },
    );
  });

  it.skipIf(!isRoot)("is sampled and stopped by root", async () => {
    const [{ C }, pid] = [await backends(), await startFrozen(1)];
    await undisturbed(async ({ models, monitor, send }) => {
      models.register({ name: "C", address: C, pid });
      expect((await monitor("C")).json).toMatchObject({ state: -1, ...kernelFigures(pid) });
      const stop = await send("/backend/shutdown", json({ model: "C" }));
      expect(stop.json).toEqual({ message: "model stopped" });
      expect(isRunning(pid)).toBe(false);
    });
  });
});

describe.skipIf(!isLinux)("a process that has ended", () => {
  it("leaves what the backend says", () => leavesTheBackend("does not exist"));

  it.skipIf(!canChoosePid)("leaves it also where another process has its id now", () =>
    leavesTheBackend("has ended; its id now belongs to another process", startWithPid),
  );
});

async function leavesTheBackend(reason: string, reuse?: typeof startWithPid) {
  const { A, B, C } = await backends();
  const pid = await startFrozen();
  await undisturbed(async ({ models, monitor, send }) => {
    for (const [name, address] of Object.entries({ A, B, C })) models.register({ name, address, pid });
    expect((await monitor("C")).json).toMatchObject({ state: -1, ...kernelFigures(pid) });
    await end(pid);
    await expect.poll(() => existsSync(`/proc/${pid}`)).toBe(false);
    const stranger = await reuse?.(pid);

    expect((await monitor("A")).json).toEqual(REPORT);
    expect((await monitor("B")).json).toEqual({ state: 1, ...NO_FIGURES });
    expectNeither(await monitor("C"), `process ${pid} ${reason}`);

    const stop = await send("/backend/shutdown", json({ model: "C" }));
    expect(stop.json).toEqual({ message: "model stopped" });
    expect((await monitor("C")).json.error.type).toBe("model_not_loaded");
    expect(isRunning(pid)).toBe(stranger !== undefined);
    await (stranger && end(pid));
  });
}
