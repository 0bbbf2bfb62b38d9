// A supervisor: it starts a backend, starts it again after a crash, keeps its log, and stops it with the server.
// Run it in a clone of this repository: npm ci && npm run example build/examples/supervisor.js
// Then try the lines that it prints. Another port: PORT=8081 npm run … Ctrl-C ends it and its backend.
import express from "express";
import { BackendSupervisor, createBackendMonitorRouter } from "express-backend-monitor";

const supervisor = new BackendSupervisor();
supervisor.on("exit", ({ name, code, signal }) => console.log(`${name} ended with ${signal ?? code}`));
supervisor.on("failed", ({ name, error }) => console.error(`${name} is given up: ${error.message}`));

const app = express();
app.use(createBackendMonitorRouter({ registry: supervisor, logger: console }));
app.get("/log/:model", (req, res) => res.type("text").send(supervisor.logs(req.params.model)));

const port = Number(process.env.PORT ?? 8080);
const server = app.listen(port, "127.0.0.1");
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, stop);

const { pid } = await supervisor.start({
  name: "chat",
  command: process.execPath,
  args: ["build/examples/backends/chat.js"],
  restart: { maxRetries: 5, minDelayMs: 500 },
});
const url = `http://127.0.0.1:${port}`;
console.log(`kill -9 ${pid} # a crash: half a second later, it is there again`);
console.log(`curl "${url}/backend/monitor?model=chat"`);
console.log(`curl ${url}/log/chat`);
console.log(`curl ${url}/backend/shutdown -H "Content-Type: application/json" -d '{"model": "chat"}'`);

/** Takes no more requests, and gives the backends five seconds to end by themselves before they are killed. */
async function stop() {
  server.close();
  await supervisor.shutdownAll({ timeoutMs: 5_000 });
  process.exit();
}
