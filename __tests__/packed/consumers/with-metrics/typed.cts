import monitor = require("express-backend-monitor");
import metrics = require("express-backend-monitor/metrics");
import promClient = require("prom-client");

const registry = new monitor.InMemoryModelRegistry();
const options: metrics.BackendMetricsOptions = {
  monitor: new monitor.BackendMonitor({ registry }),
  register: promClient.register,
};
metrics.registerBackendMetrics(options);

// @ts-expect-error a monitor is required
metrics.registerBackendMetrics({ register: promClient.register });
