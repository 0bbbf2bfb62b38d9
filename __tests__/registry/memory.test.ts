import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { BackendError, InMemoryModelRegistry, type Registration } from "../../lib/index.js";
import { isListening } from "../../lib/process/address.js";
import { processStartTime, TerminateError } from "../../lib/process/index.js";
import {
  canChoosePid,
  freePort,
  hasEnded,
  isLinux,
  isRunning,
  startScript,
  startWithPid,
} from "../support/processes.js";

const address = "127.0.0.1:50051";
const options = () => ({ force: false, timeoutMs: 300, signal: new AbortController().signal });

describe("register", () => {
  it("lists models under the names that they were given, whatever they are", async () => {
    const registry = new InMemoryModelRegistry();
    const names = ["a", "A", " a", "model.gguf", "org/model:7b", "__proto__", "constructor", "模型"];
    for (const name of names) registry.register({ name, address: "192.0.2.7:1" });
    expect((await registry.list()).map(({ name }) => name)).toEqual(names);
    for (const name of names) expect(await registry.get(name)).toEqual({ name, address: "192.0.2.7:1" });
    expect(await registry.get("toString")).toBeUndefined();
  });

  it("replaces a model of the same name, and unregister drops it", async () => {
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: "192.0.2.7:1" });
    registry.register({ name: "m", address: "192.0.2.7:2" });
    expect(await registry.list()).toEqual([{ name: "m", address: "192.0.2.7:2" }]);
    expect(registry.unregister("m")).toBe(true);
    expect(registry.unregister("m")).toBe(false);
    expect(await registry.list()).toEqual([]);
  });

  it.each([
    [undefined, /register takes an object of options, got undefined/],
    [
      { address },
      /option "name" takes a name of 1 to 512 characters without control characters, got undefined/,
    ],
    [{ name: "", address }, /option "name"/],
    [{ name: "m" }, /option "address"/],
    [
      { name: "m", address, pid: 0 },
      /option "pid" takes a process id: a whole number from 1, got the number 0/,
    ],
    [{ name: "m", address, pid: "7" }, /option "pid" .* got the string "7"/],
    [{ name: "m", address, stop: true }, /option "stop" takes a function/],
    [{ name: "m", address, Pid: 7 }, /no option "Pid"; its options are name, address, pid, stop/],
  ])("refuses %j", (registration, message) => {
    const register = () => new InMemoryModelRegistry().register(registration as Registration);
    expect(register).toThrow(TypeError);
    expect(register).toThrow(message);
  });
});

describe.skipIf(!isLinux)("the process", () => {
  it("is remembered by its start time", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address, pid });
    expect(await registry.get("m")).toEqual({
      name: "m",
      address,
      pid,
      startTime: await processStartTime(pid),
    });
  });

  it("is known to have ended where it had when it was registered", async () => {
    const { pid, process: child } = await startScript("stubborn.mjs");
    child.kill("SIGKILL");
    await hasEnded(pid);
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address, pid });
    const model = await registry.get("m");
    expect(model?.pid).toBe(pid);
    // Whatever gets this id next has a later start time.
    expect(model?.startTime).toBeLessThan(0);
  });

  it("is found by the address, and searched for again when it comes back", async () => {
    const loopback = `127.0.0.1:${await freePort()}`;
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: loopback });
    expect(await registry.get("m")).toEqual({ name: "m", address: loopback });

    const first = await startScript("stubborn.mjs", ["x", "--addr", loopback]);
    await expect.poll(async () => (await registry.get("m"))?.pid, { timeout: 5000 }).toBe(first.pid);
    first.process.kill("SIGKILL");
    await hasEnded(first.pid);
    const second = await startScript("stubborn.mjs", ["x", "--addr", loopback]);
    await expect.poll(async () => (await registry.get("m"))?.pid, { timeout: 5000 }).toBe(second.pid);
  });

  it("has no id where several have the address", async () => {
    const loopback = `127.0.0.1:${await freePort()}`;
    await startScript("stubborn.mjs", ["x", "--addr", loopback]);
    await startScript("stubborn.mjs", ["x", "--addr", loopback]);
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: loopback });
    expect(await registry.get("m")).toEqual({ name: "m", address: loopback });
    await expect(registry.shutdown("m", options())).rejects.toThrow(
      /no process of it can be seen on this machine/,
    );
  });
});

describe.skipIf(!isLinux)("shutdown", () => {
  it("terminates the whole tree and takes the model off the list", async () => {
    const { pid, words } = await startScript("family.mjs");
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address, pid });
    await registry.shutdown("m", options());
    expect(words.map(Number).filter(isRunning)).toEqual([]);
    expect(await registry.list()).toEqual([]);
  });

  it("needs no options", async () => {
    const { pid } = await startScript("family.mjs");
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address, pid });
    await registry.shutdown("m");
    expect(isRunning(pid)).toBe(false);
  });

  it("takes a model off the list whose process has ended by itself", async () => {
    const { pid, process: child } = await startScript("stubborn.mjs");
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address, pid });
    await registry.get("m");
    child.kill("SIGKILL");
    await hasEnded(pid);
    await registry.shutdown("m", options());
    expect(await registry.list()).toEqual([]);
  });

  it("stops the process that is there now, not the one that was found before it", async () => {
    const loopback = `127.0.0.1:${await freePort()}`;
    const first = await startScript("stubborn.mjs", ["x", "--addr", loopback]);
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: loopback });
    expect(await registry.get("m")).toMatchObject({ pid: first.pid });
    first.process.kill("SIGKILL");
    await hasEnded(first.pid);
    expect(await registry.get("m")).toEqual({ name: "m", address: loopback });
    const second = await startScript("stubborn.mjs", ["x", "--addr", loopback]);
    await registry.shutdown("m", options());
    expect(isRunning(second.pid)).toBe(false);
  });

  it("finds a backend that its start script left behind, by its address", async () => {
    const loopback = `127.0.0.1:${await freePort()}`;
    const backend = await startScript("stubborn.mjs", ["x", "--listen", "--addr", loopback]);
    const startScriptOfIt = await startScript("stubborn.mjs");
    startScriptOfIt.process.kill("SIGKILL");
    await hasEnded(startScriptOfIt.pid);
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: loopback, pid: startScriptOfIt.pid });
    await registry.shutdown("m", options());
    expect(isRunning(backend.pid)).toBe(false);
    expect(await isListening(loopback)).toBe(false);
  });

  it("does not say that a model is stopped whose address still answers", async () => {
    const { pid, words } = await startScript("stubborn.mjs", ["x", "--listen"]);
    const stillThere = `127.0.0.1:${words[1]?.slice("port:".length)}`;
    const other = await startScript("stubborn.mjs");
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: stillThere, pid: other.pid });
    await expect(registry.shutdown("m", options())).rejects.toThrow(
      `model "m" is not stopped: its process is gone, but "${stillThere}" still answers; end what listens there, or ` +
        "register the model with its pid",
    );
    expect(isRunning(pid)).toBe(true);
    expect(await registry.list()).toHaveLength(1);
    registry.register({ name: "m", address: stillThere, pid });
    await registry.shutdown("m", options());
    expect(await isListening(stillThere)).toBe(false);
    expect(await registry.list()).toEqual([]);
  });

  it("does not show the path of a socket that still answers", async () => {
    const path = join(tmpdir(), `${randomUUID()}.sock`);
    const server = createServer().listen(path);
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const { pid } = await startScript("stubborn.mjs");
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: `unix:${path}`, pid });
    await expect(registry.shutdown("m", options())).rejects.toThrow(
      'but "unix:(path)" still answers; end what',
    );
  });

  it("leaves a process alone that comes to its address after the shutdown began", async () => {
    const loopback = `127.0.0.1:${await freePort()}`;
    const backend = await startScript("stubborn.mjs", ["x", "--listen", "--addr", loopback]);
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address: loopback, pid: backend.pid });
    const stopping = registry.shutdown("m", options());
    // As a service manager would do it that restarts what ends.
    await hasEnded(backend.pid);
    const another = await startScript("stubborn.mjs", ["x", "--listen", "--addr", loopback]);
    await stopping.catch(() => {});
    expect(isRunning(another.pid)).toBe(true);
    expect(another.process.signalCode).toBeNull();
  });

  it.skipIf(!canChoosePid)("leaves a process alone that got the id of the model's", async () => {
    const { pid, process: child } = await startScript("stubborn.mjs");
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address, pid });
    const model = await registry.get("m");
    child.kill("SIGKILL");
    await once(child, "exit");
    const stranger = await startWithPid(pid);
    expect(await processStartTime(pid)).not.toBe(model?.startTime);
    await registry.shutdown("m", options());
    expect(isRunning(pid)).toBe(true);
    expect(stranger.process.signalCode).toBeNull();
  });

  it("calls the model's own stop hook, and terminates what that leaves", async () => {
    const { pid, words, process: child } = await startScript("stubborn.mjs", ["mortal"]);
    const registry = new InMemoryModelRegistry();
    const calls: object[] = [];
    registry.register({
      name: "m",
      address,
      pid,
      stop: async (given) => {
        calls.push(given);
        child.kill("SIGKILL");
        await hasEnded(pid);
      },
    });
    const given = options();
    await registry.shutdown("m", given);
    expect(calls).toEqual([given]);
    expect(words.map(Number).filter(isRunning)).toEqual([]);
    expect(await registry.list()).toEqual([]);
  });

  it("goes no further where nobody waits any more when the stop hook is done", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const registry = new InMemoryModelRegistry();
    const waiting = new AbortController();
    registry.register({ name: "m", address, pid, stop: () => waiting.abort() });
    await expect(registry.shutdown("m", { ...options(), signal: waiting.signal })).rejects.toThrow("abort");
    expect(isRunning(pid)).toBe(true);
    expect(await registry.list()).toHaveLength(1);
  });

  it("is content with a stop hook where there is no process here", async () => {
    const registry = new InMemoryModelRegistry();
    let stopped = false;
    registry.register({
      name: "m",
      address: "192.0.2.7:1",
      stop: () => {
        stopped = true;
      },
    });
    await registry.shutdown("m", options());
    expect(stopped).toBe(true);
    expect(await registry.list()).toEqual([]);
  });

  it("keeps the model on the list where it could not be stopped", async () => {
    const registry = new InMemoryModelRegistry();
    const fail = () => Promise.reject(new Error("docker is down"));
    registry.register({ name: "hook", address, stop: fail });
    registry.register({ name: "self", address, pid: process.pid });
    registry.register({ name: "far", address: "192.0.2.7:1" });
    await expect(registry.shutdown("hook", options())).rejects.toThrow(BackendError);
    await expect(registry.shutdown("self", options())).rejects.toThrow(TerminateError);
    await expect(registry.shutdown("far", options())).rejects.toThrow(BackendError);
    expect((await registry.list()).map(({ name }) => name)).toEqual(["hook", "self", "far"]);
  });

  it("does not take a model off the list that was registered anew meanwhile", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address, pid });
    const stopping = registry.shutdown("m", options());
    registry.register({ name: "m", address: "192.0.2.7:2" });
    await stopping;
    expect(await registry.list()).toEqual([{ name: "m", address: "192.0.2.7:2" }]);
  });

  it("has nothing to do for a model that it does not list", async () => {
    await new InMemoryModelRegistry().shutdown("m", options());
  });
});
