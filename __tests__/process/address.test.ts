import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { isFreed, isListening } from "../../lib/process/address.js";
import { freeze, isLinux, nodeWithFewFiles, start } from "../support/processes.js";

const address = new URL("../../dist/process/address.js", import.meta.url).href;

describe.skipIf(!isLinux)("an address", () => {
  const listener = (backlog: number) => `
    const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: ${backlog} }, () => {
      console.log("port:" + server.address().port);
    });
  `;
  const portOf = (words: string[]) => Number(words[0]?.split(":")[1]);
  it("is listened at where nobody answers, as the queue is full", async () => {
    const { pid, words } = await start(process.execPath, ["-e", listener(1)]);
    const port = portOf(words);
    await freeze(pid);
    for (let number = 0; number < 4; number++) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {});
      onTestFinished(() => void socket.destroy());
    }
    await delay(50);
    expect(await isListening(`127.0.0.1:${port}`)).toBe(true);
  });

  it("is not taken for free where there is no file descriptor left to find out", () => {
    const code = `
      const { isListening } = await import(${JSON.stringify(address)});
      const { openSync } = await import("node:fs");
      await isListening("127.0.0.1:9");
      try { for (;;) openSync("/dev/null"); } catch {}
      await isListening("127.0.0.1:9").catch((error) => process.exit(error.code === "EMFILE" ? 5 : 6));
    `;
    const [command, args] = nodeWithFewFiles(code);
    expect(spawnSync(command, args).status).toBe(5);
  });

  it("is nobody's where this process listens at it", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    onTestFinished(() => void server.close());
    await once(server, "listening");
    expect(await isFreed(`127.0.0.1:${(server.address() as AddressInfo).port}`)).toBe(true);
  });

  it("may be free a moment later", async () => {
    const { process: child, words } = await start(process.execPath, ["-e", listener(511)]);
    const freed = isFreed(`127.0.0.1:${portOf(words)}`);
    await delay(200);
    child.kill("SIGKILL");
    expect(await freed).toBe(true);
  });
});
