import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { processStartTime, TerminateError, terminateProcessTree } from "../../lib/process/index.js";
import { hasEnded, isLinux, isRunning, startScript } from "../support/processes.js";

const canHideProcesses =
  spawnSync("unshare", ["-m", "mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"]).status === 0;
const dist = new URL("../../dist/process/index.js", import.meta.url).href;

describe.skipIf(!isLinux)("terminateProcessTree", () => {
  it("ends the process and all its descendants", async () => {
    const { pid, words } = await startScript("family.mjs");
    await terminateProcessTree(pid);
    expect(words).toHaveLength(5);
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("sends SIGTERM first, and nothing else to what ends by it", async () => {
    const { pid, process: child } = await startScript("family.mjs");
    const exited = once(child, "exit");
    await terminateProcessTree(pid);
    expect(await exited).toEqual([null, "SIGTERM"]);
  });

  it("sends it to every process of the tree: none is left to be killed", async () => {
    const { pid, words } = await startScript("family.mjs");
    // The test would be over before the patience is.
    await terminateProcessTree(pid, { timeoutMs: 3_600_000 });
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("kills what ignores SIGTERM, once its time is over", async () => {
    const { pid, words, process: child } = await startScript("stubborn.mjs", ["parent"]);
    const exited = once(child, "exit");
    const since = performance.now();
    await terminateProcessTree(pid, { timeoutMs: 300 });
    expect(performance.now() - since).toBeGreaterThanOrEqual(300);
    expect(await exited).toEqual([null, "SIGKILL"]);
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("keeps to a child that was handed to another parent when its own died", async () => {
    const { pid, words } = await startScript("stubborn.mjs", ["mortal"]);
    await terminateProcessTree(pid, { timeoutMs: 300 });
    expect(words.map(Number).filter(isRunning)).toEqual([]);
  });

  it("ends a process that is stopped", async () => {
    const { pid } = await startScript("family.mjs");
    process.kill(pid, "SIGSTOP");
    await terminateProcessTree(pid, { timeoutMs: 300 });
    expect(isRunning(pid)).toBe(false);
  });

  it("leaves a process of another start time alone", async () => {
    const { pid, process: child } = await startScript("family.mjs");
    const startTime = (await processStartTime(pid)) ?? 0;
    await terminateProcessTree(pid, { startTime: startTime - 1 });
    expect(isRunning(pid)).toBe(true);
    expect(child.signalCode).toBeNull();
    await terminateProcessTree(pid, { startTime });
    expect(isRunning(pid)).toBe(false);
  });

  it("has nothing to do where the process has ended", async () => {
    const { pid, process: child } = await startScript("stubborn.mjs");
    child.kill("SIGKILL");
    await hasEnded(pid);
    await terminateProcessTree(pid);
  });

  it("leaves a bystander alone", async () => {
    const [bystander, target] = [await startScript("family.mjs"), await startScript("family.mjs")];
    await terminateProcessTree(target.pid);
    expect(bystander.words.map(Number).every(isRunning)).toBe(true);
  });

  it("refuses to end this process, and any that it descends from", async () => {
    for (const pid of [process.pid, process.ppid]) {
      const refusal = terminateProcessTree(pid);
      await expect(refusal).rejects.toThrow(TerminateError);
      await expect(refusal).rejects.toThrow(
        `this is the server itself, or a process that started it: ${process.pid}`,
      );
    }
  });

  it.skipIf(process.getuid?.() !== 0)("names what it is not permitted to end, at once", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const attempt = `
      const { terminateProcessTree } = await import(${JSON.stringify(dist)});
      await terminateProcessTree(${pid}).catch((error) => console.log(error.message, error.processes));
    `;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", attempt], {
      uid: 65534,
      gid: 65534,
    });
    expect(output.toString()).toContain(
      `the operating system does not permit to stop these processes: ${pid} ("node")`,
    );
    expect(isRunning(pid)).toBe(true);
  });

  it.skipIf(!canHideProcesses)("does not take a process for gone that the system hides", async () => {
    const { pid } = await startScript("stubborn.mjs");
    const attempt = `
      const { sampleProcess, terminateProcessTree } = await import(${JSON.stringify(dist)});
      process.setgid(65534);
      process.setuid(65534);
      await terminateProcessTree(${pid}).catch((error) => console.log(error.message));
      await sampleProcess(${pid}).catch((error) => console.log(error.message));
    `;
    const hide = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"';
    const args = ["-m", "sh", "-c", hide, "sh", process.execPath, "--input-type=module", "-e", attempt];
    expect(execFileSync("unshare", args).toString().split("\n")).toEqual([
      `the operating system does not show this process: ${pid} ("?")`,
      `process ${pid} is another user's, and this system hides it`,
      "",
    ]);
    expect(isRunning(pid)).toBe(true);
  });

  it("refuses what is no process id, or no option", async () => {
    await expect(terminateProcessTree(0)).rejects.toThrow(TypeError);
    await expect(terminateProcessTree(-1)).rejects.toThrow(/whole number from 1/);
    await expect(terminateProcessTree(5, { timeoutMs: -1 })).rejects.toThrow(
      /"timeoutMs" takes a whole number/,
    );
    await expect(terminateProcessTree(5, { timeout: 1 } as object)).rejects.toThrow(/no option "timeout"/);
  });
});
