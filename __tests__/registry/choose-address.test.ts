import { expect, it, vi } from "vitest";
import { freeLoopbackAddress } from "../../lib/process/address.js";
import { isLinux } from "../support/processes.js";
import { createSupervisor, nasty } from "../support/supervisor.js";

vi.mock("../../lib/process/address.js", async (original) => {
  const module = await original<typeof import("../../lib/process/address.js")>();
  return { ...module, freeLoopbackAddress: vi.fn(module.freeLoopbackAddress) };
});
it.skipIf(!isLinux)(
  "no address is chosen that another backend was given, and does not listen at yet",
  async () => {
    const { supervisor } = createSupervisor();
    const chosen = await freeLoopbackAddress();
    vi.mocked(freeLoopbackAddress).mockResolvedValueOnce(chosen).mockResolvedValueOnce(chosen);
    const models = await Promise.all(
      ["one", "other"].map((name) => supervisor.start(nasty("", { name }).start)),
    );
    const addresses = models.map(({ address }) => address);
    expect(addresses).toContain(chosen);
    expect(new Set(addresses).size).toBe(2);
  },
);
