// A registry of the host's own: three methods, for a host that knows its backends already.
// Run it in a clone of this repository: npm ci && npm run example build/examples/own-registry.js
// Then try the curl lines that it prints. Another port: PORT=8081 npm run … Ctrl-C ends it and its backend.
import { spawn } from "node:child_process";
import { once } from "node:events";
import express from "express";
import { createBackendMonitorRouter, type LoadedModel, type ModelRegistry } from "express-backend-monitor";
import { processStartTime, terminateProcessTree } from "express-backend-monitor/process";

/** What the router reads is a LoadedModel's; the rest is yours. With `busy: true`, a shutdown waits until it is not. */
interface Model extends LoadedModel {
  pid: number;
  loadedAt: Date;
}

const models = new Map<string, Model>();

const registry: ModelRegistry = {
  get: (name) => models.get(name),
  list: () => [...models.values()],
  async shutdown(name, { timeoutMs }) {
    const model = models.get(name);
    if (!model) return;
    // With the start time, no signal reaches another process that has been given the same id since.
    await terminateProcessTree(model.pid, { startTime: model.startTime, timeoutMs });
    models.delete(name);
  },
};

const address = process.env.ADDRESS ?? "127.0.0.1:50051";
const args = ["build/examples/backends/chat.js", "--addr", address];
const backend = spawn(process.execPath, args, { stdio: "inherit" });
await once(backend, "spawn");
const pid = backend.pid as number;
models.set("chat", {
  name: "chat",
  address,
  pid,
  startTime: await processStartTime(pid),
  loadedAt: new Date(),
});

const app = express();
app.use(createBackendMonitorRouter({ registry, logger: console }));
app.get("/models", (_req, res) => res.json([...models.values()]));

const port = Number(process.env.PORT ?? 8080);
app.listen(port, "127.0.0.1", (error) => {
  if (error) throw error;
  const url = `http://127.0.0.1:${port}`;
  console.log(`curl "${url}/backend/monitor?model=chat"`);
  console.log(`curl ${url}/backend/shutdown -H "Content-Type: application/json" -d '{"model": "chat"}'`);
  console.log(`curl ${url}/models`);
});

process.on("exit", () => backend.kill());
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit());
