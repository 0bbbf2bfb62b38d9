// A CommonJS host: require() the package as any other, with Node 20.19 or later.
// Run it in a clone of this repository: npm ci && npm run example examples/commonjs.cjs
// Then try the curl lines that it prints. Another port: PORT=8081 npm run … Ctrl-C ends it and its backend.
const express = require("express");
const { BackendSupervisor, createBackendMonitorRouter } = require("express-backend-monitor");

const registry = new BackendSupervisor();
const app = express();
app.use(createBackendMonitorRouter({ registry, logger: console }));

const port = Number(process.env.PORT ?? 8080);
app.listen(port, "127.0.0.1");
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, async () => {
    await registry.shutdownAll();
    process.exit();
  });
}

const backend = { name: "chat", command: process.execPath, args: ["build/examples/backends/chat.js"] };
registry.start(backend).then(() => {
  const url = `http://127.0.0.1:${port}`;
  console.log(`curl "${url}/backend/monitor?model=chat"`);
  console.log(`curl ${url}/backend/shutdown -H "Content-Type: application/json" -d '{"model": "chat"}'`);
});
