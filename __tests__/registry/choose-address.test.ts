import { describe, expect, it, vi } from "vitest";
import { freeLoopbackAddress } from "../../lib/process/address.js";
import { freePort, isLinux, kernelParent, kernelSession, start } from "../support/processes.js";
import { createSupervisor, listening, nasty } from "../support/supervisor.js";

vi.mock("../../lib/process/address.js", async (original) => {
  const module = await original<typeof import("../../lib/process/address.js")>();
  return { ...module, freeLoopbackAddress: vi.fn(module.freeLoopbackAddress) };
});

/** An address that another program listens at. */
async function strangersAddress(): Promise<string> {
  const listen =
    'const s = require("net").createServer().listen(0, "127.0.0.1", () => console.log(s.address().port))';
  const { words } = await start(process.execPath, ["-e", listen]);
  return `127.0.0.1:${words[0]}`;
}

describe.skipIf(!isLinux)("the address that is chosen", () => {
  it("is none that another backend was given, and does not listen at yet", async () => {
    const { supervisor } = createSupervisor();
    const chosen = await freeLoopbackAddress();
    vi.mocked(freeLoopbackAddress).mockResolvedValueOnce(chosen).mockResolvedValueOnce(chosen);
    const models = await Promise.all(
      ["one", "other"].map((name) => supervisor.start(nasty("", { name }).start)),
    );
    const addresses = models.map(({ address }) => address);
    expect(addresses).toContain(chosen);
    expect(new Set(addresses).size).toBe(2);
  });

  it("is another one where a program takes it before the backend does", async () => {
    const { supervisor, exits, failures } = createSupervisor();
    const [taken, free] = [await freePort(), await freePort()];
    await listening(taken);
    vi.mocked(freeLoopbackAddress)
      .mockResolvedValueOnce(`127.0.0.1:${taken}`)
      .mockResolvedValueOnce(`127.0.0.1:${free}`);
    const { start: options, processes } = nasty("session,meek");
    const model = await supervisor.start(options);
    expect(model.address).toBe(`127.0.0.1:${free}`);
    // Of the first run, nothing is left.
    const workers = processes().filter((pid) => kernelSession(pid) === pid);
    expect(workers.map(kernelParent)).toEqual([model.pid]);
    expect([exits, failures]).toEqual([[], []]);
    await supervisor.shutdown("m");
    expect(processes()).toEqual([]);
  });

  it("is not looked for without an end", async () => {
    const { supervisor } = createSupervisor();
    const choose = vi.mocked(freeLoopbackAddress);
    const address = await strangersAddress();
    for (let times = 0; times < 3; times++) choose.mockResolvedValueOnce(address);
    choose.mockClear();
    const { start: options, processes } = nasty();
    await expect(supervisor.start(options)).rejects.toThrow("EADDRINUSE");
    expect(choose).toHaveBeenCalledTimes(3);
    expect(processes()).toEqual([]);
    // The address is the stranger's, so that there is nothing left to be stopped.
    await supervisor.shutdown("m");
    await supervisor.start(options);
  });

  it("that a stranger has taken is no reason for a shutdown to fail", async () => {
    const { supervisor } = createSupervisor();
    vi.mocked(freeLoopbackAddress).mockResolvedValueOnce(await strangersAddress());
    // Its worker holds its pipes open, so that for half a second it is not known why it ended.
    const { start: options, processes } = nasty("holding");
    const started = expect(supervisor.start(options)).rejects.toThrow("was cancelled by a shutdown");
    started.catch(() => {});
    const ofWorker = (pid: number) => kernelSession(pid) !== kernelSession(process.pid);
    await expect.poll(() => processes().some(ofWorker) && processes().every(ofWorker)).toBe(true);
    await supervisor.shutdown("m");
    await started;
    expect(processes()).toEqual([]);
  });
});
