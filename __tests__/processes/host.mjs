// A host app with the built package, in a process of its own. It is told in JSON which models it has: those that are
// registered, and those that a registry of its own gives as they are; and which user it becomes. It prints its URL. After
// DELETE / it has no models any more, and after SIGTERM it ends as soon as nothing is left to be done.
import express from "express";
import { createBackendMonitorRouter, InMemoryModelRegistry } from "../../dist/index.js";

const { registered = [], own = [], user, ...options } = JSON.parse(process.argv[2]);
if (user !== undefined) {
  process.setgid(user);
  process.setuid(user);
}

const models = new InMemoryModelRegistry();
for (const model of registered) models.register(model);
const ownModels = new Map(own.map((model) => [model.name, model]));
const registry = {
  get: (name) => ownModels.get(name) ?? models.get(name),
  list: async () => [...ownModels.values(), ...(await models.list())],
  shutdown: (name, how) => models.shutdown(name, how),
};

const app = express();
app.use(createBackendMonitorRouter({ ...options, registry }));
app.delete("/", (_req, res) => {
  for (const { name } of registered) models.unregister(name);
  ownModels.clear();
  res.end();
});
const server = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
process.once("SIGTERM", () => {
  server.close();
  server.closeIdleConnections();
});
