import { Counter, Gauge } from "prom-client";
import { checkOptions } from "../options.js";
import type { ModelOverview } from "../overview.js";
import { countShutdowns, DURATION, SHUTDOWNS, timeMonitor } from "./events.js";
import { type SampledMetric, sampledMetrics } from "./figures.js";
import { isKnown, shownModels } from "./labels.js";
import { type BackendMetricsOptions, metricsOptionChecks } from "./options.js";

const MODELS = "backend_models";

/**
 * Puts what models cost on a registry of `prom-client`. They are sampled when it is scraped, by one
 * `BackendMonitor.overview()` a scrape; between scrapes, nothing is asked. So a scrape takes as long as the slowest
 * backend, and `statusTimeoutMs` at most.
 *
 * ```ts
 * import { register } from "prom-client";
 * import { registerBackendMetrics } from "express-backend-monitor/metrics";
 *
 * const monitor = new BackendMonitor({ registry });
 * registerBackendMetrics({ monitor, register });
 * app.get("/metrics", async (_req, res) => {
 *   res.type(register.contentType).send(await register.metrics());
 * });
 * ```
 *
 * A figure that is unknown has no sample. There are 1,000 models at most, the first by name; the gauge `backend_models`
 * tells how many are loaded. Where the registry of models fails, a scrape has none of the figures, and `backend_models` neither.
 *
 * `register.clear()` takes all of it away.
 *
 * @throws {TypeError} naming the option that is not what it takes.
 * @throws {Error} where `register` has a metric of one of these names already: it takes one monitor, and once.
 */
export function registerBackendMetrics(options: BackendMetricsOptions): void {
  checkOptions("registerBackendMetrics", options, metricsOptionChecks);
  const { monitor, register } = options;
  const names = [MODELS, ...sampledMetrics.map(({ name }) => name), SHUTDOWNS, DURATION];
  const taken = names.find((name) => register.getSingleMetric(name));
  if (taken !== undefined) {
    throw new Error(
      `registerBackendMetrics: this register has a metric "${taken}" already. It takes the metrics of one monitor, once: for ` +
        "another monitor, give it a register of its own, made with new Registry()",
    );
  }

  let collecting: Promise<void> | undefined;
  // All metrics of a scrape, and scrapes at the same time, share one overview.
  const collect = () => {
    collecting ??= sample().finally(() => {
      collecting = undefined;
    });
    return collecting;
  };
  const registers = [register];
  const models = new Gauge({ name: MODELS, help: "Models that are loaded.", registers, collect });
  const sampled = sampledMetrics.map((metric) => ({ metric, series: seriesOf(metric, register, collect) }));
  const atScrape = [countShutdowns, timeMonitor].map((make) => make({ monitor, register, collect }));

  async function sample(): Promise<void> {
    // Why there is none, the monitor's log has been told.
    const overview = await monitor.overview().catch(() => undefined);
    for (const { series } of sampled) series.reset();
    models.remove();
    if (overview) show(overview);
  }

  function show(overview: readonly ModelOverview[]): void {
    models.set(overview.length);
    const shown = shownModels(overview);
    for (const [model, its] of shown) {
      for (const { metric, series } of sampled) {
        for (const [value, labels] of metric.figures(its)) {
          if (isKnown(value)) series.add({ model, ...labels }, Number(value));
        }
      }
    }
    for (const see of atScrape) see(shown);
  }
}

/** The samples of one metric. */
interface Series {
  readonly reset: () => void;
  readonly add: (labels: Record<string, string>, value: number) => void;
}

function seriesOf(
  metric: SampledMetric,
  register: BackendMetricsOptions["register"],
  collect: () => Promise<void>,
): Series {
  const { name, help, labelNames, isCounter } = metric;
  const configuration = {
    name,
    help,
    labelNames: ["model", ...labelNames],
    registers: [register],
    collect,
  };
  if (!isCounter) {
    const gauge = new Gauge(configuration);
    return { reset: () => gauge.reset(), add: (labels, value) => gauge.set(labels, value) };
  }
  // A counter can't be set, but counted up from nothing.
  const counter = new Counter(configuration);
  return { reset: () => counter.reset(), add: (labels, value) => counter.inc(labels, value) };
}
