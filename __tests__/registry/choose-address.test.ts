import { describe, expect, it, onTestFinished, vi } from "vitest";
import { freeLoopbackAddress } from "../../lib/process/address.js";
import { freePort, isLinux, kernelParent, kernelSession } from "../support/processes.js";
import { createSupervisor, listening, nasty } from "../support/supervisor.js";

vi.mock("../../lib/process/address.js", async (original) => {
  const module = await original<typeof import("../../lib/process/address.js")>();
  return { ...module, freeLoopbackAddress: vi.fn(module.freeLoopbackAddress) };
});

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
    const { start, processes } = nasty("session,meek");
    const model = await supervisor.start(start);
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
    const port = await freePort();
    const address = `127.0.0.1:${port}`;
    await listening(port);
    vi.mocked(freeLoopbackAddress).mockClear().mockResolvedValue(address);
    onTestFinished(() => void vi.mocked(freeLoopbackAddress).mockRestore());
    const { start, processes } = nasty();
    await expect(supervisor.start(start)).rejects.toThrow("EADDRINUSE");
    expect(freeLoopbackAddress).toHaveBeenCalledTimes(3);
    expect(processes()).toEqual([]);
  });
});
