// A host app with three backends of its own, each a real process:
//   chat implements everything; plain has no Status, and is started by a shell script that leaves a stubborn worker
//   behind; stuck gets ready and never answers after that.
// Start it with `npm start`, and try the curl lines that it prints. Ctrl-C stops all of it.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { credentials } from "@grpc/grpc-js";
import express from "express";
import {
  BackendMonitor,
  BackendSupervisor,
  createBackendMonitorRouter,
  openApiDocument,
} from "express-backend-monitor";
import { createDashboardRouter } from "express-backend-monitor/dashboard";
import { registerBackendMetrics } from "express-backend-monitor/metrics";
import { Registry } from "prom-client";
import { loadBackendProtocol } from "./backends/serve.js";

const terminateTimeoutMs = 2_000;
const supervisor = new BackendSupervisor();
const monitor = new BackendMonitor({ registry: supervisor, terminateTimeoutMs, logger: console });
// There is no guard here, but to a page of another name (DNS rebinding) it does not answer.
const allowedHosts = ["localhost", "127.0.0.1"];
const app = express();
app.use(createBackendMonitorRouter({ monitor, allowedHosts }));
app.use("/dashboard", createDashboardRouter({ monitor, allowedHosts }));

const register = new Registry();
registerBackendMetrics({ monitor, register });
app.get("/metrics", async (_req, res) => {
  res.set("Content-Type", register.contentType).send(await register.metrics());
});

app.get("/openapi.json", (_req, res) => void res.json(openApiDocument()));

// A route of the host's own, so that there is something to watch: it has a model generate some text.
const Backend = loadBackendProtocol();
app.post("/predict", express.json(), (req, res) => {
  const model = supervisor.get(String(req.body?.model));
  if (!model) return void res.status(404).json({ error: 'no such model; send {"model": "chat"}' });
  const client = new Backend(model.address, credentials.createInsecure());
  const request = { Prompt: String(req.body.prompt ?? ""), Tokens: Number(req.body.tokens ?? 30) };
  client.Predict?.(request, (error: Error | null, reply: { message: Buffer }) => {
    client.close();
    if (error) res.status(502).json({ error: error.message });
    else res.json({ text: reply.message.toString() });
  });
});

const port = process.env.PORT ?? "8080";
const server = createServer(app);
try {
  await once(server.listen(Number(port), "127.0.0.1"), "listening");
} catch (error) {
  const { code } = error as NodeJS.ErrnoException;
  console.error(`can't listen on port ${port} (${code}); try another one: PORT=8081 npm start`);
  process.exit(1);
}

let isStopping = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
supervisor.on("exit", ({ name, code, signal, stderr }) => {
  if (!isStopping) console.error(`${name} ended with ${signal ?? code}, and is off the list. ${stderr}`);
});

// This file runs as build/examples/server.js.
const compiled = (file: string) => fileURLToPath(new URL(`backends/${file}`, import.meta.url));
const script = fileURLToPath(new URL("../../examples/backends/plain.sh", import.meta.url));
const node = process.execPath;

try {
  await Promise.all([
    supervisor.start({ name: "chat", command: node, args: [compiled("chat.js")] }),
    supervisor.start({ name: "plain", command: "sh", args: [script], env: { NODE: node } }),
    supervisor.start({ name: "stuck", command: node, args: [compiled("stuck.js")] }),
  ]);
  printWhatToTry();
} catch (error) {
  if (!isStopping) {
    console.error(error);
    process.exitCode = 1;
    await stop();
  }
}

/** Stops every backend, then this server. */
async function stop(): Promise<void> {
  isStopping = true;
  server.close();
  server.closeAllConnections();
  await supervisor.shutdownAll({ timeoutMs: terminateTimeoutMs }).catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
  process.exit();
}

function printWhatToTry(): void {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const json = `-H "Content-Type: application/json"`;
  console.log(`\nThe example is on ${url}, with these models:\n`);
  for (const { name, pid, address } of supervisor.list().sort((a, b) => a.name.localeCompare(b.name))) {
    console.log(`  ${name.padEnd(6)} process ${pid}, gRPC on ${address}`);
  }
  console.log(`
Look at them, and stop them there: ${url}/dashboard/

What a model costs: chat reports its memory itself; of plain and stuck the operating system tells.

  curl "${url}/backend/monitor?model=chat"
  curl "${url}/backend/monitor?model=plain"
  curl "${url}/v1/backend/monitor?model=stuck"

With the name in a body, as older clients of LocalAI send it:

  curl -X GET ${url}/backend/monitor ${json} -d '{"model": "chat"}'

Have chat generate something for two seconds, and monitor it again: its cache has grown.

  curl ${url}/predict ${json} -d '{"model": "chat", "prompt": "Sing!"}'
  curl "${url}/backend/monitor?model=chat"

What a mistake looks like:

  curl "${url}/backend/monitor"
  curl "${url}/backend/monitor?model=unheard-of"

All models at once, as the page has them; what chat has printed; and all of it for Prometheus:

  curl ${url}/dashboard/api/backends
  curl "${url}/dashboard/api/logs?model=chat"
  curl ${url}/metrics

The first of these paths, described as OpenAPI:

  curl ${url}/openapi.json

Stop them. Their processes are gone then: children, and plain's worker in a session of its own, which ignores SIGTERM.
That one is given two seconds before it is killed.

  curl ${url}/backend/shutdown ${json} -d '{"model": "chat"}'
  curl ${url}/v1/backend/shutdown ${json} -d '{"model": "plain"}'
  curl ${url}/backend/shutdown ${json} -d '{"model": "stuck", "force": true}'

Ctrl-C stops the example and all that it started.
`);
}
