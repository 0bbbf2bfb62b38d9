import type { OpenMetricsContentType, Registry } from "prom-client";
import { aMonitor, type BackendMonitor } from "../monitor.js";
import { type OptionCheck, objectWith, required } from "../options.js";

/** Options of {@link registerBackendMetrics}. */
export interface BackendMetricsOptions {
  /** What the metrics tell of. */
  monitor: BackendMonitor;
  /** Where they go: a `Registry` of `prom-client`, such as its `register`. It may have any other metrics, too. */
  register: Registry | Registry<OpenMetricsContentType>;
}

export const metricsOptionChecks: Record<keyof BackendMetricsOptions, OptionCheck> = {
  monitor: required(aMonitor),
  // By its methods: a host may have another copy of prom-client.
  register: required({
    ...objectWith("registerMetric", "getSingleMetric"),
    takes: "a Registry of prom-client",
  }),
};
