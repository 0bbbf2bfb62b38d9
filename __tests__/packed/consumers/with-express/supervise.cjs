const express = require("express");
const { BackendSupervisor, bearerAuth, createBackendMonitorRouter } = require("express-backend-monitor");

const supervisor = new BackendSupervisor();

const app = express();
const authorize = bearerAuth(["s3cret"]);
// A busy machine may need a while.
app.use("/admin", createBackendMonitorRouter({ registry: supervisor, authorize, statusTimeoutMs: 20_000 }));
const server = app.listen(process.env.PORT, async () => {
  const { pid } = await supervisor.start({
    name: "my-model",
    command: process.execPath,
    args: ["backend.mjs"],
  });
  console.log(server.address().port, pid);
});

process.on("SIGTERM", () => supervisor.shutdownAll().finally(() => process.exit()));
