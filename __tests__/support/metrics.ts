import { isDeepStrictEqual } from "node:util";
import express from "express";
import { Registry } from "prom-client";
import { expect, onTestFinished } from "vitest";
import {
  type BackendClientFactory,
  BackendMonitor,
  type BackendMonitorOptions,
  type BackendStatus,
  InMemoryModelRegistry,
  type LoadedModel,
  type ModelRegistry,
} from "../../lib/index.js";
import { registerBackendMetrics } from "../../lib/metrics/index.js";
import { hasMemory, isOk, serveBackend } from "./grpc.js";
import { type Send, serveHttp } from "./http.js";
import { startScript } from "./processes.js";
import { type Family, parseMetrics, type Sample } from "./prometheus.js";

type Families = ReadonlyMap<string, Family>;

export interface MetricsHost {
  monitor: BackendMonitor;
  register: Registry;
  send: Send;
  /** What `/metrics` answers. */
  scrape(): Promise<Families>;
  /** The same before it is read. */
  scrapeText(): Promise<string>;
}

/** A host app that serves the metrics of a monitor. */
export async function metricsHost(options: BackendMonitorOptions): Promise<MetricsHost> {
  // A busy machine may need a while.
  const monitor = new BackendMonitor({ statusTimeoutMs: 15_000, ...options });
  onTestFinished(() => monitor.close());
  const register = new Registry();
  registerBackendMetrics({ monitor, register });
  const app = express().get("/metrics", async (_req, res) => {
    res.type(register.contentType).send(await register.metrics());
  });
  const send = await serveHttp(app);
  const scrapeText = async () => {
    const { status, headers, text } = await send("/metrics");
    expect([status, headers["content-type"]]).toEqual([200, register.contentType]);
    return text;
  };
  return { monitor, register, send, scrapeText, scrape: async () => parseMetrics(await scrapeText()) };
}

/** A host app with a model that reports, one that does not, both with processes, and one that nobody tells of. */
export async function busyHost(): Promise<MetricsHost> {
  const { pid } = await startScript("family.mjs");
  const registry = new InMemoryModelRegistry();
  for (const [name, calls] of [
    ["reports", { Status: hasMemory }],
    ["plain", { Health: isOk }],
  ] as const) {
    registry.register({ name, address: (await serveBackend(calls)).address, pid });
  }
  registry.register({ name: "lost", address: "127.0.0.1:1" });
  const host = await metricsHost({ registry });
  for (const name of ["lost", "nobody"]) await expect(host.monitor.shutdown(name)).rejects.toThrow();
  await expect
    .poll(async () => modelsOf(await host.scrape(), "backend_monitor_duration_seconds_count"))
    .toContain("reports");
  return host;
}

/** All samples of a name, or of one model. */
export function samplesOf(families: Families, name: string, model?: string): Sample[] {
  const samples = [...families.values()].flatMap((family) => family.samples);
  return samples.filter(
    (sample) => sample.name === name && (model === undefined || sample.labels.model === model),
  );
}

/** The value of the sample with these labels; `undefined` where there is none. */
export function figure(
  families: Families,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  return samplesOf(families, name).find((sample) => isDeepStrictEqual(sample.labels, labels))?.value;
}

/** The values of one model by one of their labels, each. */
export function valuesBy(
  label: string,
  families: Families,
  name: string,
  model: string,
): Record<string, number> {
  const samples = samplesOf(families, name, model);
  return Object.fromEntries(samples.map(({ labels, value }) => [labels[label], value]));
}

/** The models that a metric has samples of. */
export function modelsOf(families: Families, name: string): string[] {
  return [...new Set(samplesOf(families, name).map(({ labels }) => labels.model ?? ""))];
}

/** A host's own registry, of models without a process. */
export function registryOf(models: ReadonlyMap<string, LoadedModel>): ModelRegistry {
  return { get: (name) => models.get(name), list: () => [...models.values()], shutdown: () => {} };
}

/** Models of these names. Nobody listens at their address. */
export function modelsNamed(names: Iterable<string>): Map<string, LoadedModel> {
  return new Map(Array.from(names, (name) => [name, { name, address: "127.0.0.1:1" }]));
}

/** A host's own client, whose backends all answer Status, without a connection. */
export function reporting(status: (model: LoadedModel) => BackendStatus): BackendClientFactory {
  return (model) => ({
    status: async () => status(model),
    health: async () => true,
    free: async () => {},
    close: () => {},
  });
}
