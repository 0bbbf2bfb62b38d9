/**
 * The host of the soak: an Express app with the router, and a registry of its own in which models are that it starts itself
 * and models that it is told of. What it is to do with them, the soak tells it; so it does when to measure itself.
 */
import { once } from "node:events";
import { readdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import { getChannelzHandlers } from "@grpc/grpc-js";
import express from "express";
import {
  BackendSupervisor,
  createBackendMonitorRouter,
  InMemoryModelRegistry,
  type ModelRegistry,
  type Registration,
  type StartOptions,
} from "express-backend-monitor";

export type Orders = typeof orders;
export type Order = keyof Orders;
export interface OrderMessage {
  readonly id: number;
  readonly order: Order;
  readonly argument: unknown;
}
export type HostMessage =
  | { readonly id: number; readonly result?: unknown; readonly error?: string }
  | { readonly problem: string };

/** The sizes are in MiB, the times in milliseconds. */
export type Measures = Awaited<ReturnType<typeof measure>>;

const models = new InMemoryModelRegistry();
const supervisor = new BackendSupervisor();
const registry: ModelRegistry = {
  get: (name) => supervisor.get(name) ?? models.get(name),
  list: async () => [...supervisor.list(), ...(await models.list())],
  async shutdown(name, options) {
    // The one that does not know it does nothing.
    await supervisor.shutdown(name, options);
    await models.shutdown(name, options);
  },
  cancelStart: (name, options) => supervisor.cancelStart(name, options),
};
supervisor.on("failed", ({ name, error }) => tell({ problem: `${name} is given up: ${error.message}` }));

const app = express();
app.use(
  createBackendMonitorRouter({
    registry,
    // Many are stopped here that hang or ignore SIGTERM.
    freeTimeoutMs: 500,
    terminateTimeoutMs: 500,
    // Any other backend_error is one that is asked for here.
    logger: {
      info: () => {},
      error: (message) =>
        /InternalError|could not be stopped|is not stopped/.test(message) && tell({ problem: message }),
    },
  }),
);
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");

const RESOLUTION_MS = 10;
const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
let cpu = process.cpuUsage();
let measuredAt = performance.now();

async function measure() {
  delays.disable();
  // The histogram counts the time that it waits by itself, too.
  const [p50, p99, max] = [delays.percentile(50), delays.percentile(99), delays.max].map((ns) =>
    Math.max(0, ns / 1e6 - RESOLUTION_MS),
  ) as [number, number, number];
  const { user, system } = process.cpuUsage(cpu);
  const cpuPercent = (user + system) / 10 / (performance.now() - measuredAt);

  // What the first one finalizes, the second one takes.
  globalThis.gc?.();
  await setImmediate();
  globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  const resources: Record<string, number> = { channels: countChannels() };
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1;
  resources.descriptors = readdirSync("/proc/self/fd").length;

  cpu = process.cpuUsage();
  measuredAt = performance.now();
  delays.reset();
  delays.enable();
  return {
    rss: rss / 2 ** 20,
    heap: heapUsed / 2 ** 20,
    external: external / 2 ** 20,
    resources,
    p50,
    p99,
    max,
    cpuPercent,
  };
}

/** The open channels, by gRPC's own list, which it keeps for whoever debugs it. */
function countChannels(): number {
  let count = Number.NaN;
  const { GetTopChannels } = getChannelzHandlers();
  type Call = Parameters<typeof GetTopChannels>[0];
  const call: Partial<Call> = { request: { start_channel_id: "0", max_results: "1000000" } };
  GetTopChannels(call as Call, (_error, reply) => {
    count = reply?.channel?.length ?? count;
  });
  return count;
}

const orders = {
  port: () => (server.address() as AddressInfo).port,
  start: (options: StartOptions) => supervisor.start(options),
  get: (name: string) => registry.get(name),
  register: (registration: Registration) => models.register(registration),
  unregister: (name: string) => models.unregister(name),
  measure,
};

process.on("message", async ({ id, order, argument }: OrderMessage) => {
  try {
    tell({ id, result: await orders[order](argument as never) });
  } catch (error) {
    tell({ id, error: String(error) });
  }
});
// All that it started is killed then.
process.on("disconnect", () => process.exit());

function tell(message: HostMessage): void {
  process.send?.(message);
}
