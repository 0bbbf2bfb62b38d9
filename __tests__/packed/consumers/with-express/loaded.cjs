const express = require("express");
const ofExpress = new Set(Object.keys(require.cache));
const { createBackendMonitorRouter, InMemoryModelRegistry } = require("express-backend-monitor");

const registry = new InMemoryModelRegistry();
registry.register({ name: "my-model", address: "127.0.0.1:1", pid: process.pid });

const server = express().use(createBackendMonitorRouter({ registry }));
const listening = server.listen(0, async () => {
  await fetch(`http://127.0.0.1:${listening.address().port}/backend/monitor?model=my-model`);
  const files = Object.keys(require.cache).filter((file) => !ofExpress.has(file));
  const packages = files.map((file) => /.*node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)/.exec(file)?.[1]);
  console.log([...new Set(packages)].sort().join(" "));
  process.exit();
});
