// Who may call: bearerAuth lets tokens pass, and a guard of the host's own decides what each of them may do.
// Run it in a clone of this repository: npm ci && npm run example build/examples/auth.js
// Then try the curl lines that it prints. Another port: PORT=8081 npm run … Ctrl-C ends it and its backend.
import { randomUUID } from "node:crypto";
import express, { type RequestHandler } from "express";
import { BackendSupervisor, bearerAuth, createBackendMonitorRouter } from "express-backend-monitor";

// Yours come from the environment or a secret store.
const viewer = randomUUID();
const admin = randomUUID();

// Any Express handler is a guard: it calls next(), or it answers. This one runs when bearerAuth knows the token.
const onlyAdminStops: RequestHandler = (req, res, next) => {
  if (req.method !== "POST" || req.get("authorization")?.endsWith(admin)) return next();
  res
    .status(403)
    .json({ error: { code: 403, message: "only the admin may stop a model", type: "forbidden" } });
};

const registry = new BackendSupervisor();
const app = express();
app.use(
  createBackendMonitorRouter({
    registry,
    authorize: [bearerAuth([viewer, admin]), onlyAdminStops],
    logger: console,
  }),
);
// The guards are the router's: this route needs no token.
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
console.log(`${shutdown} -H "Authorization: Bearer ${viewer}" # 403`);
console.log(`${shutdown} -H "Authorization: Bearer ${admin}"`);
