const { BackendMonitor, InMemoryModelRegistry } = require("express-backend-monitor");
const { registerBackendMetrics } = require("express-backend-monitor/metrics");
const { register } = require("prom-client");

const registry = new InMemoryModelRegistry();
// Nobody listens there, so that it is the operating system that tells.
registry.register({ name: "my-model", address: "127.0.0.1:1", pid: process.pid });

const monitor = new BackendMonitor({ registry });
registerBackendMetrics({ monitor, register });
register.metrics().then((text) => {
  console.log(text);
  monitor.close();
});
