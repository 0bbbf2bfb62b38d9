import express = require("express");
import monitor = require("express-backend-monitor");
import dashboard = require("express-backend-monitor/dashboard");
import processes = require("express-backend-monitor/process");

const registry: monitor.ModelRegistry = new monitor.InMemoryModelRegistry();
const options: monitor.BackendMonitorRouterOptions = { registry, logger: console };
const app = express();
app.use(monitor.createBackendMonitorRouter(options));
app.use(dashboard.createDashboardRouter({ monitor: new monitor.BackendMonitor({ registry }) }));

export const stop = (pid: number): Promise<number> => processes.terminateProcessTree(pid);

// @ts-expect-error a registry is required
monitor.createBackendMonitorRouter({});
// @ts-expect-error a process id is a number
processes.terminateProcessTree("4711");
