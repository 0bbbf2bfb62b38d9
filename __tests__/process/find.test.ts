import { describe, expect, it } from "vitest";
import { findProcessByAddress, isOnThisMachine } from "../../lib/process/find.js";
import { freePort, isLinux, start, startScript } from "../support/processes.js";

async function freeAddress() {
  return `127.0.0.1:${await freePort()}`;
}

describe.skipIf(!isLinux)("findProcessByAddress", () => {
  it.each([
    ["as an argument", (address: string) => ["--addr", address]],
    ["behind an equals sign", (address: string) => [`--addr=${address}`]],
  ])("finds the process that has the address %s", async (_how, args) => {
    const address = await freeAddress();
    const { pid } = await startScript("stubborn.mjs", args(address));
    expect(await findProcessByAddress(address)).toMatchObject({ pid });
  });

  it("takes a script and the backend that it started for one: the script", async () => {
    const address = await freeAddress();
    const { pid, words } = await startScript("family.mjs", ["--addr", address]);
    expect(words).toHaveLength(5);
    expect(await findProcessByAddress(address)).toMatchObject({ pid });
  });

  it("finds none where several have it", async () => {
    const address = await freeAddress();
    await startScript("stubborn.mjs", ["x", address]);
    await startScript("stubborn.mjs", ["x", address]);
    expect(await findProcessByAddress(address)).toBeUndefined();
  });

  it("finds none where none has it as an argument of its own", async () => {
    const address = await freeAddress();
    await startScript("stubborn.mjs", ["x", `${address}1`, `see ${address}`, `1${address}`]);
    expect(await findProcessByAddress(address)).toBeUndefined();
  });

  it("never finds this process or its ancestors", async () => {
    const address = await freeAddress();
    const dist = new URL("../../dist/process/find.js", import.meta.url).href;
    const search = `
      import { findProcessByAddress } from ${JSON.stringify(dist)};
      console.log(String(await findProcessByAddress(${JSON.stringify(address)})));
      setInterval(() => {}, 1000);
    `;
    const args = ["--input-type=module", "-e", search, "--", "--backend", address];
    expect((await start(process.execPath, args)).words).toEqual(["undefined"]);
  });

  it("looks for no process here where the address is another machine's", async () => {
    const address = "192.0.2.7:50051";
    await startScript("stubborn.mjs", ["x", address]);
    expect(await findProcessByAddress(address)).toBeUndefined();
  });
});

describe("isOnThisMachine", () => {
  it.each([
    "127.0.0.1:1",
    "127.8.0.1:1",
    "localhost:1",
    "[::1]:1",
    "[::]:1",
    "0.0.0.0:1",
    ":1",
    "unix:/run/a.sock",
  ])("%s is", (address) => expect(isOnThisMachine(address)).toBe(true));
  it.each(["192.0.2.7:1", "backend:1", "[2001:db8::1]:1", "dns:///backend:1", "backend", "128.0.0.1:1"])(
    "%s is not",
    (address) => expect(isOnThisMachine(address)).toBe(false),
  );
});
