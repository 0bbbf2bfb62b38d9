/**
 * What 1,000 models cost that are each monitored once a second: memory after each garbage collection, and CPU. Prints a line
 * of JSON.
 *
 *   node --expose-gc models.js SECONDS PID ADDRESS [ADDRESS …]
 */
import { setTimeout as delay } from "node:timers/promises";
import { BackendMonitor, InMemoryModelRegistry } from "express-backend-monitor";

export interface Models {
  models: number;
  /** Every tenth of the time, the first after the first pass: bytes since before the first model was registered. */
  heap: number[];
  rss: number[];
  /** Of a core, in percent. */
  cpu: number;
  failed: number;
}

const STEPS = 10;
const WARM_UP_SECONDS = 5;

const [seconds = 0, pid = 0] = process.argv.slice(2, 4).map(Number);
const addresses = process.argv.slice(4);

const registry = new InMemoryModelRegistry();
const monitor = new BackendMonitor({ registry });
let failed = 0;

/** Monitors each of these models once, spread over a second. */
async function pass(names: readonly string[]): Promise<void> {
  const startedAt = performance.now();
  const answers: Promise<unknown>[] = [];
  for (const [index, name] of names.entries()) {
    await delay(Math.max(0, startedAt + (1000 * index) / names.length - performance.now()));
    answers.push(
      monitor.status(name).then(
        ({ state }) => state === 2 || failed++,
        () => failed++,
      ),
    );
  }
  await Promise.all(answers);
}

function collect(): NodeJS.MemoryUsage {
  globalThis.gc?.();
  return process.memoryUsage();
}

// As many requests as later, for one model: what is loaded when it is first used, and what the heap keeps free for the rate.
registry.register({ name: "warm-up", address: addresses[0] ?? "", pid });
for (let second = 0; second < WARM_UP_SECONDS; second++) await pass(addresses.map(() => "warm-up"));
registry.unregister("warm-up");
await monitor.status("warm-up").catch(() => {});
const before = collect();

for (const [name, address] of addresses.entries()) registry.register({ name: `${name}`, address, pid });
const names = addresses.map((_, name) => `${name}`);
await pass(names);
const after: NodeJS.MemoryUsage[] = [collect()];
const cpuBefore = process.cpuUsage();
const startedAt = performance.now();
for (let step = 1; step <= STEPS; step++) {
  while (performance.now() - startedAt < (1000 * seconds * step) / STEPS) await pass(names);
  after.push(collect());
}
const { user, system } = process.cpuUsage(cpuBefore);
const models: Models = {
  models: addresses.length,
  heap: after.map(({ heapUsed }) => heapUsed - before.heapUsed),
  rss: after.map(({ rss }) => rss - before.rss),
  cpu: (user + system) / 10 / (performance.now() - startedAt),
  failed,
};
console.log(JSON.stringify(models));
monitor.close();
