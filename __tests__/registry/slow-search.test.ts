import { expect, it, vi } from "vitest";
import { InMemoryModelRegistry } from "../../lib/index.js";
import { findProcessByAddress } from "../../lib/process/find.js";
import { processStartTime } from "../../lib/process/index.js";

vi.mock("../../lib/process/find.js");

it("a model is told of without its process while that is searched for, which a busy machine takes long for", async () => {
  let find: (entry: Awaited<ReturnType<typeof findProcessByAddress>>) => void = () => {};
  vi.mocked(findProcessByAddress).mockReturnValueOnce(
    new Promise((resolve) => {
      find = resolve;
    }),
  );
  const registry = new InMemoryModelRegistry();
  const model = { name: "m", address: "127.0.0.1:50051" };
  registry.register(model);
  expect(await Promise.all([registry.get("m"), registry.list()])).toEqual([model, [model]]);

  const startTime = (await processStartTime(process.pid)) ?? 0;
  find({ pid: process.pid, ppid: process.ppid, startTime, command: "node" });
  expect(await registry.get("m")).toEqual({ ...model, pid: process.pid, startTime });
  expect(findProcessByAddress).toHaveBeenCalledOnce();
});
