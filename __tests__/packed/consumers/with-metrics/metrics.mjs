import { BackendMonitor, InMemoryModelRegistry } from "express-backend-monitor";
import { registerBackendMetrics } from "express-backend-monitor/metrics";
import { register } from "prom-client";

const registry = new InMemoryModelRegistry();
// Nobody listens there, so that it is the operating system that tells.
registry.register({ name: "my-model", address: "127.0.0.1:1", pid: process.pid });

const monitor = new BackendMonitor({ registry });
registerBackendMetrics({ monitor, register });
console.log(await register.metrics());
monitor.close();
