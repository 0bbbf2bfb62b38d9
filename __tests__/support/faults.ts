import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { totalmem } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { getChannelzHandlers } from "@grpc/grpc-js";
import express from "express";
import { expect, onTestFinished } from "vitest";
import {
  type BackendMonitorRouterOptions,
  createBackendMonitorRouter,
  InMemoryModelRegistry,
  type ModelRegistry,
} from "../../lib/index.js";
import { type Answer, type RequestOptions, send } from "./http.js";
import { freeze, kernelBytes, start, startScript } from "./processes.js";

/** Long enough for a busy machine, and a backend which says nothing is given up soon. */
export const STATUS_TIMEOUT_MS = 2_000;

/** For a backend whose fault shows at once: that the machine is busy does not make another one of it. */
export const PATIENT = { statusTimeoutMs: 15_000 };

/** How much later than its deadline an answer may come: this machine may be busy. */
const LATE_MS = 5_000;

/** Fewer would not tell a model that has to wait from a machine that was busy for a moment. */
const FEWEST_POLLS = 10;

export interface Host {
  /** Has the models of a fault. */
  models: InMemoryModelRegistry;
  /** A process that can be sampled, for models whose backend is none. */
  pid: number;
  url: string;
  send(path: string, options?: RequestOptions): Promise<Answer>;
  /** Sends `GET /backend/monitor` for a model. The answer has to come within the deadline. */
  monitor(model: string): Promise<Answer>;
}

type HostOptions = Omit<Partial<BackendMonitorRouterOptions>, "registry"> & {
  /** The host's own registry around the one that has the models. */
  registryOf?: (models: InMemoryModelRegistry) => ModelRegistry;
};

/**
 * Runs a fault against a host app with the router. All the while another model, whose backend is sound, is polled one
 * request after another, and has to be answered as ever and at once. Afterwards nothing may be left: whatever the fault itself
 * started (servers, processes), it has to have ended.
 */
export async function undisturbed(
  fault: (host: Host) => Promise<void>,
  { registryOf = (models) => models, ...options }: HostOptions = {},
): Promise<void> {
  const { pid, words } = await startScript("reporting.mjs");
  const before = resources();

  const models = new InMemoryModelRegistry();
  models.register({ name: "bystander", address: `127.0.0.1:${words[0]}`, pid });
  const registry = registryOf(models);
  const app = express();
  app.use(createBackendMonitorRouter({ statusTimeoutMs: STATUS_TIMEOUT_MS, ...options, registry }));
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const monitor = (model: string) => monitorInTime(url, model, options.statusTimeoutMs);
  const wasUndisturbed = pollBystander(url);
  await fault({ models, pid, url, monitor, send: (path, request) => send(`${url}${path}`, request) });
  await wasUndisturbed();

  // The connection to a backend is closed when its model is found not to be loaded any more.
  for (const { name } of await models.list()) {
    models.unregister(name);
    expect((await monitor(name)).json.error.type).toBe("model_not_loaded");
  }
  server.close();
  server.closeIdleConnections();
  await once(server, "close");
  expect(await leftSince(before)).toEqual([]);
}

/** Asks a host app for a model. The answer has to come within the deadline. */
export async function monitorInTime(
  url: string,
  model: string,
  timeoutMs = STATUS_TIMEOUT_MS,
): Promise<Answer> {
  const askedAt = performance.now();
  const answer = await send(`${url}/backend/monitor?model=${encodeURIComponent(model)}`);
  expect(performance.now() - askedAt).toBeLessThan(timeoutMs + LATE_MS);
  return answer;
}

/** Polls the bystander until the returned function is called, which sees whether it was answered as ever, and at once. */
export function pollBystander(url: string, lateMs = LATE_MS): () => Promise<void> {
  let isOver = false;
  onTestFinished(() => {
    isOver = true;
  });
  const polling = (async () => {
    const times: number[] = [];
    for (let polls = 0; !isOver || polls < FEWEST_POLLS; polls++) {
      const askedAt = performance.now();
      expect((await send(`${url}/backend/monitor?model=bystander`)).json).toEqual(REPORT);
      times.push(performance.now() - askedAt);
      // Without it, this alone would keep a core busy.
      await delay(polls < FEWEST_POLLS ? 20 : 60);
    }
    return times.sort((a, b) => a - b);
  })();
  polling.catch(() => {});
  return async () => {
    isOver = true;
    const times = await polling;
    // Had it to wait for the other model, it would most of the time; a machine may be busy for some of it.
    expect(times[Math.floor(times.length / 4)]).toBeLessThan(STATUS_TIMEOUT_MS / 2);
    expect(times.at(-1)).toBeLessThan(lateMs);
  };
}

/** What reporting.mjs says of itself. */
export const REPORT = { state: 2, memory: { total: 300, breakdown: { weights: 200, kv_cache: 100 } } };

/** A process whose figures stay as they are. It costs little. */
export async function frozenProcess(): Promise<number> {
  const { pid } = await start("sh", ["-c", "echo ready; exec sleep 60"]);
  await freeze(pid);
  return pid;
}

/** The figures of a process that is stopped, as the kernel has them. */
export function kernelFigures(pid: number) {
  const rss = kernelBytes(pid, "VmRSS");
  return {
    memory: {
      total: rss,
      breakdown: {
        anonymous: kernelBytes(pid, "RssAnon"),
        file: kernelBytes(pid, "RssFile"),
        shared: kernelBytes(pid, "RssShmem"),
      },
    },
    memory_info: { rss, vms: kernelBytes(pid, "VmSize") },
    memory_percent: (100 * rss) / totalmem(),
    cpu_percent: expect.any(Number),
  };
}

/** The answer where Status fails, with the figures of a frozen process by the kernel's word. */
export function failedStatus(code: string, pid: number, state = -1) {
  return { state, ...kernelFigures(pid), status_error: { code, message: expect.any(String) } };
}

/** How many there are of each kind of what can be left: handles, timers, channels and listeners. */
function resources(): Map<string, number> {
  const count = new Map<string, number>();
  const add = (kind: string, by = 1) => count.set(kind, (count.get(kind) ?? 0) + by);
  for (const kind of process.getActiveResourcesInfo()) add(kind);
  for (const event of process.eventNames()) add(`listener of ${String(event)}`, process.listenerCount(event));
  for (const _channel of openChannels()) add("channel");
  return count;
}

/** By gRPC's own list, which it keeps for whoever debugs it. */
function openChannels(): unknown[] {
  let open: unknown[] = [];
  const { GetTopChannels } = getChannelzHandlers();
  const call = { request: { start_channel_id: "0", max_results: "0" } } as Partial<
    Parameters<typeof GetTopChannels>[0]
  >;
  GetTopChannels(call as Parameters<typeof GetTopChannels>[0], (_error, reply) => {
    open = reply?.channel ?? [];
  });
  return open;
}

/** What there is more of than before, unless it goes soon. Not by expect.poll(): its own timer would be more, too. */
async function leftSince(before: ReadonlyMap<string, number>): Promise<[kind: string, count: number][]> {
  const giveUpAt = performance.now() + 10_000;
  for (;;) {
    await delay(20);
    const left = [...resources()].filter(([kind, count]) => count > (before.get(kind) ?? 0));
    if (left.length === 0 || performance.now() >= giveUpAt) return left;
  }
}
