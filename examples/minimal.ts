// The least there is to do: a backend, registered by its address and process id, and the router mounted in an app.
// Run it in a clone of this repository: npm ci && npm run example build/examples/minimal.js
// Then try the curl lines that it prints. Another port: PORT=8081 npm run … Ctrl-C ends it and its backend.
import { spawn } from "node:child_process";
import express from "express";
import { createBackendMonitorRouter, InMemoryModelRegistry } from "express-backend-monitor";

// Yours is perhaps spawn("python3", ["backend.py", "--addr", address]); or it runs already, and you know its pid.
const address = process.env.ADDRESS ?? "127.0.0.1:50051";
const args = ["build/examples/backends/chat.js", "--addr", address];
const backend = spawn(process.execPath, args, { stdio: "inherit" });

const registry = new InMemoryModelRegistry();
registry.register({ name: "chat", address, pid: backend.pid });

const app = express();
app.use(createBackendMonitorRouter({ registry, logger: console }));

const port = Number(process.env.PORT ?? 8080);
app.listen(port, "127.0.0.1", (error) => {
  if (error) throw error;
  const url = `http://127.0.0.1:${port}`;
  console.log(`curl "${url}/backend/monitor?model=chat"`);
  console.log(`curl ${url}/backend/shutdown -H "Content-Type: application/json" -d '{"model": "chat"}'`);
});

process.on("exit", () => backend.kill());
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit());
