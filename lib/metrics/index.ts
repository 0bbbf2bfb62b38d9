/**
 * What models cost as metrics of Prometheus: {@link registerBackendMetrics} puts them on a host's own registry of `prom-client`,
 * which is to be installed beside this package.
 *
 * @module express-backend-monitor/metrics
 */
export type { BackendMetricsOptions } from "./options.js";
export { registerBackendMetrics } from "./register.js";
