// TLS and a token towards the backend: grpcBackendClient({ token, credentials }), for the router and the supervisor.
// Run it in a clone of this repository: npm ci && npm run example build/examples/tls.js
// Then try the curl lines that it prints. Another port: PORT=8081 npm run … Ctrl-C ends it and its backend.
import { randomUUID } from "node:crypto";
import { credentials } from "@grpc/grpc-js";
import express from "express";
import { BackendSupervisor, createBackendMonitorRouter, grpcBackendClient } from "express-backend-monitor";
import { generate } from "selfsigned";

// Yours are files, and a secret that host and backend share. The certificate is for the host name in the address.
const subject = [{ name: "commonName", value: "localhost" }];
const { cert, private: key } = await generate(subject, { keyType: "ec", algorithm: "sha256" });
const token = randomUUID();

// One client for both: the router asks for Status with it, the supervisor for Health.
const createClient = grpcBackendClient({ token, credentials: credentials.createSsl(Buffer.from(cert)) });
const registry = new BackendSupervisor({ createClient });
const app = express();
app.use(createBackendMonitorRouter({ registry, createClient, logger: console }));

const port = Number(process.env.PORT ?? 8080);
app.listen(port, "127.0.0.1");
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, async () => {
    await registry.shutdownAll();
    process.exit();
  });
}

await registry.start({
  name: "chat",
  address: process.env.ADDRESS ?? "localhost:50051",
  command: process.execPath,
  args: ["build/examples/backends/chat.js"],
  env: { BACKEND_TOKEN: token, BACKEND_CERT: cert, BACKEND_KEY: key },
});
const url = `http://127.0.0.1:${port}`;
console.log(`curl "${url}/backend/monitor?model=chat"`);
console.log(`curl ${url}/backend/shutdown -H "Content-Type: application/json" -d '{"model": "chat"}'`);
