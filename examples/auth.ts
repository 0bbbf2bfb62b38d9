// Who may call: bearerAuth lets tokens pass, and a guard of the host's own decides which of them may do what.
// Run it in a clone of this repository: npm ci && npm run example build/examples/auth.js
// Then try the curl lines that it prints. Another port: PORT=8081 npm run … Ctrl-C ends it and its backend.
import { randomUUID } from "node:crypto";
import express, { type RequestHandler } from "express";
import { BackendSupervisor, bearerAuth, createBackendMonitorRouter } from "express-backend-monitor";

// Yours come from the environment or a secret store.
const viewer = randomUUID();
const admin = randomUUID();

const mayLook = bearerAuth([viewer, admin]);
const mayStop = bearerAuth([admin]);

// Any Express handler is a guard: it calls next(), or it answers.
const guard: RequestHandler = (req, res, next) =>
  req.method === "POST" ? mayStop(req, res, next) : mayLook(req, res, next);

const registry = new BackendSupervisor();
const app = express();
app.use(createBackendMonitorRouter({ registry, authorize: guard, logger: console }));
// The guard is the router's: this route needs no token.
app.get("/", (_req, res) => res.send("Hello!\n"));

const port = Number(process.env.PORT ?? 8080);
app.listen(port, "127.0.0.1");
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, async () => {
    await registry.shutdownAll();
    process.exit();
  });
}

await registry.start({ name: "chat", command: process.execPath, args: ["build/examples/backends/chat.js"] });
const url = `http://127.0.0.1:${port}`;
const monitor = `curl "${url}/backend/monitor?model=chat"`;
const shutdown = `curl ${url}/backend/shutdown -H "Content-Type: application/json" -d '{"model": "chat"}'`;
console.log(`curl ${url}/`);
console.log(`${monitor} # 401`);
console.log(`${monitor} -H "Authorization: Bearer ${viewer}"`);
console.log(`${shutdown} -H "Authorization: Bearer ${viewer}" # 401: it may only look`);
console.log(`${shutdown} -H "Authorization: Bearer ${admin}"`);
