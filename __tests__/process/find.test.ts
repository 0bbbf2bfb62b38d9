import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { isListening, onThisMachine } from "../../lib/process/address.js";
import { findProcessByAddress } from "../../lib/process/find.js";
import { portable } from "../../lib/process/portable.js";
import { freePort, hasPs, isLinux, start, startScript } from "../support/processes.js";

async function freeAddress() {
  return `127.0.0.1:${await freePort()}`;
}

describe.skipIf(!isLinux)("findProcessByAddress", () => {
  it.each([
    ["--addr ADDRESS", (address: string) => ["--addr", address]],
    ["--addr=ADDRESS", (address: string) => [`--addr=${address}`]],
    ["-addr ADDRESS", (address: string) => ["x", "-addr", address, "y"]],
    ["-addr=ADDRESS", (address: string) => [`-addr=${address}`]],
  ])("finds the process that was started with %s", async (_how, args) => {
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
    await startScript("stubborn.mjs", ["x", "--addr", address]);
    await startScript("stubborn.mjs", ["x", "--addr", address]);
    expect(await findProcessByAddress(address)).toBeUndefined();
  });

  it("does not take a process that has the address in another place: it may be a client", async () => {
    const address = await freeAddress();
    await startScript("stubborn.mjs", ["x", address]);
    await startScript("stubborn.mjs", [
      "x",
      `--backend=${address}`,
      "--backend",
      address,
      `see --addr ${address}`,
    ]);
    await startScript("stubborn.mjs", [
      "x",
      "--addr",
      `${address}1`,
      "--addr",
      `1${address}`,
      `--addr=${address}1`,
    ]);
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
    const args = ["--input-type=module", "-e", search, "--", "--addr", address];
    expect((await start(process.execPath, args)).words).toEqual(["undefined"]);
  });

  it("looks for no process here where the address is another machine's", async () => {
    const address = "192.0.2.7:50051";
    await startScript("stubborn.mjs", ["x", "--addr", address]);
    expect(await findProcessByAddress(address)).toBeUndefined();
  });

  it.skipIf(!hasPs)("is told by ps what /proc tells", async () => {
    const address = await freeAddress();
    const { pid } = await startScript("stubborn.mjs", ["x", "--addr", address]);
    const found = await portable.withArguments((args) => args.includes(address));
    expect(found.map((process) => process.pid)).toEqual([pid]);
  });
});

describe("onThisMachine", () => {
  it.each([
    ["127.0.0.1:1", { host: "127.0.0.1", port: 1 }],
    ["127.8.0.1:65535", { host: "127.8.0.1", port: 65535 }],
    ["localhost:1", { host: "localhost", port: 1 }],
    [":1", { host: "localhost", port: 1 }],
    ["[::1]:1", { host: "::1", port: 1 }],
    ["0.0.0.0:1", { host: "0.0.0.0", port: 1 }],
    ["unix:/run/a.sock", { path: "/run/a.sock" }],
  ])("%s is", (address, options) => expect(onThisMachine(address)).toEqual(options));
  it.each([
    "192.0.2.7:1",
    "backend:1",
    "[2001:db8::1]:1",
    "dns:///backend:1",
    "backend",
    "128.0.0.1:1",
    "127.0.0.1:65536",
    "127.0.0.1",
  ])("%s is not, or can't be told to be", (address) => expect(onThisMachine(address)).toBeUndefined());
});

describe("isListening", () => {
  it("tells whether somebody accepts connections", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    expect(await isListening(`127.0.0.1:${port}`)).toBe(true);
    server.close();
    await once(server, "close");
    expect(await isListening(`127.0.0.1:${port}`)).toBe(false);
    expect(await isListening("unix:/nowhere/at/all.sock")).toBe(false);
    expect(await isListening("192.0.2.7:1")).toBe(false);
  });
});
