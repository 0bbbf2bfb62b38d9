/** A host app with the dashboard of the models that it is sent; measures itself when it is asked to. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setImmediate } from "node:timers/promises";
import express from "express";
import { BackendMonitor, InMemoryModelRegistry } from "express-backend-monitor";
import { createDashboardRouter } from "express-backend-monitor/dashboard";
import type { Served } from "./backends.js";

/** What the parent is told: first where it listens, then, for each message, what it has cost since the last one. */
export interface Cost {
  /** CPU time in milliseconds. */
  cpuMs: number;
  /** How long that was, in milliseconds. */
  elapsedMs: number;
  /** Bytes in memory, and of that on the heap, after a garbage collection. */
  rss: number;
  heap: number;
  /** Bytes of one event, and how long it takes to make JSON of it once, in milliseconds. */
  eventBytes: number;
  jsonMs: number;
}

const [served] = (await once(process, "message")) as [Served];
const registry = new InMemoryModelRegistry();
for (const [index, { address, pid }] of served.entries())
  registry.register({ name: `model-${index}`, address, pid });
const monitor = new BackendMonitor({ registry });
const app = express().use("/dashboard", createDashboardRouter({ monitor, sampleIntervalMs: 1_000 }));
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
process.on("disconnect", () => process.exit());
process.send?.((server.address() as AddressInfo).port);

let cpu = process.cpuUsage();
let measuredAt = performance.now();
process.on("message", async () => {
  const { user, system } = process.cpuUsage(cpu);
  const elapsedMs = performance.now() - measuredAt;
  globalThis.gc?.();
  await setImmediate();
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  const cost: Cost = { cpuMs: (user + system) / 1000, elapsedMs, rss, heap: heapUsed, ...(await oneEvent()) };
  process.send?.(cost);
  cpu = process.cpuUsage();
  measuredAt = performance.now();
});

/** What serialisation costs: the event of a sample in which every model has changed. */
async function oneEvent(): Promise<Pick<Cost, "eventBytes" | "jsonMs">> {
  const changed = await monitor.overview();
  const bigints = (_key: string, value: unknown) => (typeof value === "bigint" ? Number(value) : value);
  const TIMES = 200;
  let text = "";
  const startedAt = performance.now();
  for (let time = 0; time < TIMES; time++)
    text = JSON.stringify({ at: Date.now(), changed, gone: [] }, bigints);
  return { eventBytes: text.length, jsonMs: (performance.now() - startedAt) / TIMES };
}
