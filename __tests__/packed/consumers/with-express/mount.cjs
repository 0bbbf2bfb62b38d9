const { spawn } = require("node:child_process");
const express = require("express");
const {
  BackendMonitor,
  createBackendMonitorRouter,
  InMemoryModelRegistry,
} = require("express-backend-monitor");
const { createDashboardRouter } = require("express-backend-monitor/dashboard");

const backend = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);

const registry = new InMemoryModelRegistry();
// Nobody listens there, so that it is the operating system that tells.
registry.register({ name: "my-model", address: "127.0.0.1:1", pid: backend.pid });

const app = express();
const monitor = new BackendMonitor({ registry });
app.use(createBackendMonitorRouter({ monitor }));
app.use("/dashboard", createDashboardRouter({ monitor }));
const server = app.listen(process.env.PORT, () => console.log(server.address().port, backend.pid));

backend.on("exit", () => server.close());
