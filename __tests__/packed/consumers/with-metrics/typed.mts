import { BackendMonitor, InMemoryModelRegistry } from "express-backend-monitor";
import { type BackendMetricsOptions, registerBackendMetrics } from "express-backend-monitor/metrics";
import { type OpenMetricsContentType, openMetricsContentType, Registry, register } from "prom-client";

const monitor = new BackendMonitor({ registry: new InMemoryModelRegistry() });
registerBackendMetrics({ monitor, register });

const openMetrics = new Registry<OpenMetricsContentType>();
openMetrics.setContentType(openMetricsContentType);
const options: BackendMetricsOptions = { monitor, register: openMetrics };
registerBackendMetrics(options);

// @ts-expect-error a register is required
registerBackendMetrics({ monitor });
// @ts-expect-error the registry of models is none of metrics
registerBackendMetrics({ monitor, register: new InMemoryModelRegistry() });
