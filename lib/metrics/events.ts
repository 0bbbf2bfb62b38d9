/** The metrics that the monitor's events make. Once they are off the register, nothing listens for them any more. */
import { Counter, Histogram } from "prom-client";
import type { ErrorType } from "../errors.js";
import type { MonitorLatency } from "../monitor.js";
import type { ShutdownProgress } from "../shutdown.js";
import { MAX_MODELS, modelLabel } from "./labels.js";
import type { BackendMetricsOptions } from "./options.js";

export const SHUTDOWNS = "backend_shutdowns_total";
export const DURATION = "backend_monitor_duration_seconds";

interface EventMetric extends BackendMetricsOptions {
  /** Called at each scrape, before the metric is read. */
  readonly collect: () => Promise<void>;
}

/** Called at each scrape with the labels of the models that are shown. */
type AtScrape = (shown: ReadonlyMap<string, unknown>) => void;

/** How the shutdown of a model that is loaded ends. */
const OUTCOMES = ["stopped", "model_busy", "backend_error", "internal_error"] as const;

/** And that of one which is not, or for which the registry makes an error of its own. */
const RARE_OUTCOMES = ["model_not_loaded", "invalid_request_error"] as const;

type Outcome = (typeof OUTCOMES | typeof RARE_OUTCOMES)[number];

/** A client can send any name: those that are not loaded are counted as one. */
const NOT_LOADED = "";

/** Those that are shown, and as many that are gone. */
const MAX_COUNTED = 2 * MAX_MODELS;

export function countShutdowns({ monitor, register, collect }: EventMetric): AtScrape {
  const shutdowns = new Counter({
    name: SHUTDOWNS,
    help: 'Shutdowns by how they ended: stopped, or the type of the error. The model is "" where no model of that name was loaded.',
    labelNames: ["model", "outcome"],
    registers: [register],
    collect,
  });
  /** The names of models that were loaded as their shutdown began. */
  const begun = new Set<string>();
  /** In the order in which they were last shut down, or seen. */
  const counted = new Set<string>();

  const count = (model: string, outcome: Outcome, by: number) => shutdowns.inc({ model, outcome }, by);
  const keep = (model: string) => {
    counted.delete(model);
    counted.add(model);
    for (const oldest of counted) {
      if (counted.size <= MAX_COUNTED) break;
      counted.delete(oldest);
      for (const outcome of [...OUTCOMES, ...RARE_OUTCOMES]) shutdowns.remove({ model: oldest, outcome });
    }
  };
  const listener = ({ name, phase, error }: ShutdownProgress) => {
    if (register.getSingleMetric(SHUTDOWNS) !== shutdowns) {
      monitor.off("shutdown", listener);
    } else if (phase === "stopped" || phase === "failed") {
      const model = begun.delete(name) || phase === "stopped" ? modelLabel(name) : NOT_LOADED;
      count(model, error ? outcomeOf(error.type) : "stopped", 1);
      keep(model);
    } else {
      begun.add(name);
    }
  };
  monitor.on("shutdown", listener);

  return (shown) => {
    for (const model of shown.keys()) {
      // Prometheus sees no increase in a count whose first value is 1.
      for (const outcome of OUTCOMES) count(model, outcome, 0);
      keep(model);
    }
    count(NOT_LOADED, "model_not_loaded", 0);
    keep(NOT_LOADED);
  };
}

/** A registry of the host's may make errors of any type. */
function outcomeOf(type: ErrorType): Outcome {
  return [...OUTCOMES, ...RARE_OUTCOMES].find((outcome) => outcome === type) ?? "internal_error";
}

const SOURCES = ["grpc", "process"] as const satisfies MonitorLatency["source"][];

export function timeMonitor({ monitor, register, collect }: EventMetric): AtScrape {
  const durations = new Histogram({
    name: DURATION,
    help: "How long it took to hear of the model from its backend (grpc) and from the operating system (process), answer or not.",
    labelNames: ["model", "source"],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5],
    registers: [register],
    collect,
  });
  const timed = new Set<string>();

  const drop = (model: string) => {
    timed.delete(model);
    for (const source of SOURCES) durations.remove({ model, source });
  };
  const listener = ({ name, source, durationMs }: MonitorLatency) => {
    if (register.getSingleMetric(DURATION) !== durations) {
      monitor.off("latency", listener);
      return;
    }
    const model = modelLabel(name);
    durations.observe({ model, source }, durationMs / 1000);
    timed.add(model);
    // Nobody may ever come to scrape.
    if (timed.size > MAX_MODELS) drop([...timed].reduce((last, other) => (last < other ? other : last)));
  };
  monitor.on("latency", listener);

  return (shown) => {
    for (const model of timed) if (!shown.has(model)) drop(model);
  };
}
