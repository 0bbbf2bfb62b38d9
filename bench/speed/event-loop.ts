/**
 * For how long a monitor of a tree of 50 processes, which is read anew each time, keeps the event loop from its next turn.
 * Prints a line of JSON.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { BackendMonitor, InMemoryModelRegistry } from "express-backend-monitor";
import { sampleProcess } from "express-backend-monitor/process";
import { median } from "../median.js";

export interface Blocks {
  processes: number;
  /** Milliseconds of the longest turn, the median over all monitors. */
  typical: number;
  /** The longest of all: what other processes of a busy machine took from this one is in it. */
  longest: number;
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

const turns: number[] = [];
for (let monitors = 0; monitors < MONITORS; monitors++) {
  // A new one knows of no earlier tree.
  const monitor = new BackendMonitor({ registry, createClient });
  let isOver = false;
  const answer = monitor.status("m").finally(() => {
    isOver = true;
  });
  let longest = 0;
  for (let since = performance.now(); !isOver; since = performance.now()) {
    await setImmediate();
    longest = Math.max(longest, performance.now() - since);
  }
  await answer;
  turns.push(longest);
}
process.kill(-pid, "SIGKILL");
await once(family, "exit");

const warm = turns.slice(MONITORS / 10);
const blocks: Blocks = {
  processes,
  typical: median(warm),
  longest: Math.max(...warm),
};
console.log(JSON.stringify(blocks));
