import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import {
  bearersOf,
  isLinux,
  markedEnvironment,
  nodeWithFewFiles,
  script,
  startScript,
} from "../support/processes.js";

const dist = new URL("../../dist/index.js", import.meta.url).href;

/** A host process that starts a backend which would survive if it could, and then does something. */
async function runHost(then: string) {
  const { mark, env } = markedEnvironment();
  const code = `
    const { BackendSupervisor } = await import(${JSON.stringify(dist)});
    const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];
    const before = signals.map((signal) => process.listenerCount(signal));
    const exitListeners = process.listenerCount("exit");
    const supervisor = new BackendSupervisor();
    const args = [${JSON.stringify(script("backend.mjs"))}, "--kind", "deaf,bare,daemon,session,chain,respawn"];
    const start = { name: "m", command: process.execPath, args };
    await supervisor.start(start);
    if (signals.some((signal, index) => process.listenerCount(signal) !== before[index])) throw new Error("signals");
    console.log("ready");
    ${then}
  `;
  const host = spawn(...nodeWithFewFiles(code), {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = once(host, "exit");
  const said = { stdout: "", stderr: "" };
  host.stdout.on("data", (chunk) => {
    said.stdout += chunk;
  });
  host.stderr.on("data", (chunk) => {
    said.stderr += chunk;
  });
  await expect.poll(() => said.stdout + said.stderr, { timeout: 10_000 }).toContain("ready");
  return { host, exited, said, processes: () => bearersOf(mark) };
}

describe.skipIf(!isLinux)("when the host process ends", () => {
  it.each([
    ["process.exit()", "process.exit(3)", 3],
    ["an uncaught exception", 'setTimeout(() => { throw new Error("oops"); }, 10)', 1],
    ["a promise that rejects", 'Promise.reject(new Error("oops"))', 1],
    [
      "process.exit() in the middle of a start",
      'supervisor.start({ ...start, name: "n" }); setTimeout(() => process.exit(4), 60)',
      4,
    ],
    [
      "process.exit() in the middle of a shutdown",
      'supervisor.shutdown("m"); setTimeout(() => process.exit(5), 60)',
      5,
    ],
    [
      "an exception for want of file descriptors",
      'const { openSync } = await import("node:fs"); for (;;) openSync("/dev/null");',
      1,
    ],
  ])("by %s, whatever is left is killed", async (_how, then, code) => {
    const { exited, processes } = await runHost(then);
    expect(await exited).toEqual([code, null]);
    // What was killed may take a moment to be gone.
    await expect.poll(processes).toEqual([]);
  });

  it("in the middle of ending a backend that it did not start, nothing is left stopped", async () => {
    const { pid, process: backend } = await startScript("stubborn.mjs");
    const code = `
      const { terminateProcessTree } = await import(${JSON.stringify(dist.replace("index.js", "process/index.js"))});
      const kill = process.kill;
      process.kill = (pid, signal) => {
        kill.call(process, pid, signal);
        if (signal === "SIGSTOP") setImmediate(() => process.exit(6));
      };
      await terminateProcessTree(${pid}, { timeoutMs: 0 });
    `;
    // In a session of its own: otherwise the kernel continues what is stopped when its session leader goes.
    const host = spawn(process.execPath, ["--input-type=module", "-e", code], { detached: true });
    const [exited, ended] = [once(host, "exit"), once(backend, "exit")];
    expect(await exited).toEqual([6, null]);
    expect(await ended).toEqual([null, "SIGKILL"]);
  });

  it("by SIGTERM, three lines of the host's own stop everything", async () => {
    const { host, exited, processes } = await runHost(`
      for (const signal of ["SIGINT", "SIGTERM"]) {
        process.on(signal, () => supervisor.shutdownAll({ timeoutMs: 200 }).catch(console.error).finally(() => process.exit()));
      }
    `);
    expect(processes().length).toBeGreaterThan(5);
    host.kill("SIGTERM");
    // An impatient second one does not cut that short.
    await new Promise((resolve) => setTimeout(resolve, 50));
    host.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
    expect(processes()).toEqual([]);
  });

  it("does not keep it from ending by itself once its models are stopped, and leaves no listener behind", async () => {
    const { exited, said, processes } = await runHost(`
      await supervisor.shutdown("m", { timeoutMs: 100 });
      console.log(process.listenerCount("exit") - exitListeners);
    `);
    expect(await exited).toEqual([0, null]);
    expect(said.stdout).toBe("ready\n0\n");
    expect(processes()).toEqual([]);
  });

  it("by process.exit() when a starting backend has workers already, whatever is left is killed", async () => {
    const { mark, env } = markedEnvironment();
    const code = `
      const { BackendSupervisor } = await import(${JSON.stringify(dist)});
      const args = [${JSON.stringify(script("backend.mjs"))}, "--kind", "never,deaf,daemon,session,chain,respawn,announced"];
      const supervisor = new BackendSupervisor();
      supervisor.start({ name: "n", command: process.execPath, args });
      setInterval(() => { if (supervisor.logs("n")) process.exit(4); }, 10);
    `;
    const host = spawn(process.execPath, ["--input-type=module", "-e", code], {
      env: { ...process.env, ...env },
      stdio: "ignore",
    });
    expect(await once(host, "exit")).toEqual([4, null]);
    await expect.poll(() => bearersOf(mark)).toEqual([]);
  });

  it("what can't be killed keeps nothing else from being killed", () => {
    const code = `
      const { killAtExit } = await import(${JSON.stringify(dist.replace("index.js", "process/at-exit.js"))});
      killAtExit(() => { throw new Error("oops"); });
      killAtExit(() => console.log("killed"));
      process.exit(3);
    `;
    const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", code]);
    expect([status, stdout.toString()]).toEqual([3, "killed\n"]);
  });

  it("the process itself is killed where the process table can't be read any more", async () => {
    const { mark, env } = markedEnvironment();
    const code = `
      const { BackendSupervisor } = await import(${JSON.stringify(dist)});
      const { systemReader } = await import(${JSON.stringify(dist.replace("index.js", "process/system.js"))});
      const args = [${JSON.stringify(script("backend.mjs"))}, "--kind", "deaf"];
      await new BackendSupervisor().start({ name: "m", command: process.execPath, args });
      systemReader.tableNow = () => { throw new Error("no more files"); };
      process.exit(5);
    `;
    const host = spawn(process.execPath, ["--input-type=module", "-e", code], {
      env: { ...process.env, ...env },
      stdio: "ignore",
    });
    expect(await once(host, "exit")).toEqual([5, null]);
    await expect.poll(() => bearersOf(mark)).toEqual([]);
  });
});

describe.skipIf(!isLinux)("a host without a file descriptor left", () => {
  it("starts a backend again that ended meanwhile, when there are some", async () => {
    const { exited, said, processes } = await runHost(`
      const { closeSync, openSync } = await import("node:fs");
      await supervisor.shutdown("m", { timeoutMs: 0 });
      const restart = { maxRetries: 100, minDelayMs: 50, maxDelayMs: 50 };
      const kind = [args[0], "--kind", "deaf,meek,session"];
      const first = await supervisor.start({ ...start, args: kind, restart });
      const files = [];
      try { for (;;) files.push(openSync("/dev/null")); } catch {}
      // For one look at the process table, and for some of the environments.
      for (const file of files.splice(0, 3)) closeSync(file);
      process.kill(first.pid, "SIGKILL");
      await new Promise((resolve) => setTimeout(resolve, 700));
      for (const file of files) closeSync(file);
      while (!supervisor.get("m") || supervisor.get("m").pid === first.pid) await new Promise((resolve) => setTimeout(resolve, 20));
      console.log("back");
      await supervisor.shutdownAll({ timeoutMs: 0 });
    `);
    expect(await exited).toEqual([0, null]);
    expect(said.stdout).toBe("ready\nback\n");
    expect(processes()).toEqual([]);
  });
});
