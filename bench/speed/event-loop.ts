/**
 * For how long a monitor of a tree of 50 processes, which is read anew each time, keeps the event loop from its next turn.
 * Prints a line of JSON.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, readSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { BackendMonitor, InMemoryModelRegistry } from "express-backend-monitor";
import { sampleProcess } from "express-backend-monitor/process";
import { median } from "./median.js";

export interface Blocks {
  processes: number;
  /** Milliseconds of the longest turn, the median over all monitors. */
  typical: number;
  /** The longest of all, by the clock: what other processes of a busy machine took from this one is in it. */
  longest: number;
  /** The longest of all, in CPU time of the thread that the event loop has. */
  longestCpu: number;
}

const PROCESSES = 50;
const MONITORS = 200;

/** A shell, and children of it, each with the threads of a Node. */
const family: ChildProcess = spawn(
  "sh",
  [
    "-c",
    `for _ in $(seq ${PROCESSES - 1}); do "$0" -e 'console.log(); setInterval(() => {}, 1e6)' & done; wait`,
    process.execPath,
  ],
  { stdio: ["ignore", "pipe", "inherit"], detached: true },
);
let ready = 0;
for await (const output of family.stdout ?? []) {
  ready += String(output).length;
  if (ready === PROCESSES - 1) break;
}
const pid = family.pid ?? 0;
const { processes } = await sampleProcess(pid);

const registry = new InMemoryModelRegistry();
registry.register({ name: "m", address: "127.0.0.1:1", pid });
const createClient = () => ({
  status: () => Promise.reject(new Error("no Status")),
  health: async () => true,
  free: async () => {},
  close: () => {},
});

const schedstat = openSync(`/proc/self/task/${process.pid}/schedstat`, "r");
const text = Buffer.alloc(100);

const turns: { ms: number; cpu: number }[] = [];
for (let monitors = 0; monitors < MONITORS; monitors++) {
  // A new one knows of no earlier tree.
  const monitor = new BackendMonitor({ registry, createClient });
  let isOver = false;
  const answer = monitor.status("m").finally(() => {
    isOver = true;
  });
  const longest = { ms: 0, cpu: 0 };
  for (
    let ms = performance.now(), cpu = threadCpuMs();
    !isOver;
    ms = performance.now(), cpu = threadCpuMs()
  ) {
    await setImmediate();
    longest.ms = Math.max(longest.ms, performance.now() - ms);
    longest.cpu = Math.max(longest.cpu, threadCpuMs() - cpu);
  }
  await answer;
  turns.push(longest);
}
process.kill(-pid, "SIGKILL");
await once(family, "exit");

/** The kernel's schedstat(5): nanoseconds on a CPU, time waited, times it was given one. */
function threadCpuMs(): number {
  const length = readSync(schedstat, text, 0, text.length, 0);
  return Number.parseInt(text.toString("latin1", 0, length), 10) / 1e6;
}

const warm = turns.slice(MONITORS / 10);
const blocks: Blocks = {
  processes,
  typical: median(warm.map(({ ms }) => ms)),
  longest: Math.max(...warm.map(({ ms }) => ms)),
  longestCpu: Math.max(...warm.map(({ cpu }) => cpu)),
};
console.log(JSON.stringify(blocks));
