const { spawn } = require("node:child_process");
const express = require("express");
const { createBackendMonitorRouter, InMemoryModelRegistry } = require("express-backend-monitor");

const backend = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);

const registry = new InMemoryModelRegistry();
// Nobody listens there, so that it is the operating system that tells.
registry.register({ name: "my-model", address: "127.0.0.1:1", pid: backend.pid });

const app = express();
app.use(createBackendMonitorRouter({ registry }));
const server = app.listen(process.env.PORT, () => console.log(server.address().port, backend.pid));

backend.on("exit", () => server.close());
