import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";

const run = promisify(execFile);
const root = new URL("..", import.meta.url);

/** Runs a module in a Node of its own, which finds the built package by its name; it is to end by itself. */
async function runModule(code: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [...args, "--input-type=module", "-e", code], {
    cwd: root,
    timeout: 15_000,
  });
  return stdout.trim();
}

describe("a program that uses the package", () => {
  it("ends by itself once its server is closed, after one request of each kind", async () => {
    const output = await runModule(`
      import { once } from "node:events";
      import { spawn } from "node:child_process";
      import express from "express";
      import { Server, ServerCredentials } from "@grpc/grpc-js";
      import { loadBackendProtocol } from "./build/examples/backends/serve.js";
      import { createBackendMonitorRouter, InMemoryModelRegistry } from "express-backend-monitor";

      const backend = new Server();
      backend.addService(loadBackendProtocol().service, {
        Status: (call, reply) => reply(null, { state: "READY", memory: { total: 5 } }),
      });
      const port = await new Promise((resolve) =>
        backend.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => resolve(port)));

      const registry = new InMemoryModelRegistry();
      const child = () => spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]).pid;
      const silent = "127.0.0.1:1";
      registry.register({ name: "reports", address: "127.0.0.1:" + port });
      registry.register({ name: "sampled", address: silent, pid: child() });
      registry.register({ name: "stopped", address: silent, pid: child() });
      registry.register({ name: "searched", address: silent });

      const app = express().use(createBackendMonitorRouter({ registry }));
      const server = app.listen(0);
      await once(server, "listening");
      const url = "http://127.0.0.1:" + server.address().port;
      const statuses = [];
      for (const name of ["reports", "sampled", "searched", "unknown", ""]) {
        statuses.push((await fetch(url + "/backend/monitor?model=" + name)).status);
      }
      for (const model of ["stopped", "sampled"]) {
        const headers = { "content-type": "application/json" };
        const body = JSON.stringify({ model });
        statuses.push((await fetch(url + "/backend/shutdown", { method: "POST", headers, body })).status);
      }
      // The test's own: not the package's to close.
      backend.forceShutdown();
      server.close();
      server.closeAllConnections();
      console.log(statuses.join(" "));
    `);
    expect(output).toBe("200 200 500 500 400 200 200");
  });

  it("ends by itself with dashboards, one that nobody looked at and one that everybody has left", async () => {
    const output = await runModule(`
      import { once } from "node:events";
      import express from "express";
      import { BackendMonitor, InMemoryModelRegistry } from "express-backend-monitor";
      import { createDashboardRouter } from "express-backend-monitor/dashboard";

      const monitor = new BackendMonitor({ registry: new InMemoryModelRegistry() });
      const app = express();
      app.use("/unused", createDashboardRouter({ monitor }));
      app.use("/used", createDashboardRouter({ monitor, sampleIntervalMs: 60_000 }));
      const server = app.listen(0);
      await once(server, "listening");
      const events = await fetch("http://127.0.0.1:" + server.address().port + "/used/api/events");
      const reader = events.body.getReader();
      let text = "";
      while (!text.includes("event: snapshot")) text += Buffer.from((await reader.read()).value);
      await reader.cancel();
      server.close();
      await once(server, "close");
      console.log("closed");
    `);
    expect(output).toBe("closed");
  });

  it("may require() it", async () => {
    const code = `
      const { createBackendMonitorRouter } = require("express-backend-monitor");
      const { createDashboardRouter } = require("express-backend-monitor/dashboard");
      const { sampleProcess } = require("express-backend-monitor/process");
      console.log(typeof createBackendMonitorRouter, typeof createDashboardRouter, typeof sampleProcess);
    `;
    const { stdout } = await run(process.execPath, ["--input-type=commonjs", "-e", code], { cwd: root });
    expect(stdout.trim()).toBe("function function function");
  });
});

/** Has a Node start in which none of these packages can be imported. */
function without(packages: RegExp): string[] {
  const hooks = `data:text/javascript,${encodeURIComponent(`
    export async function resolve(specifier, context, next) {
      if (${packages}.test(specifier)) throw new Error("loads " + specifier);
      return next(specifier, context);
    }
  `)}`;
  const register = `
    import { register } from "node:module";
    register(${JSON.stringify(hooks)});
  `;
  return ["--import", `data:text/javascript,${encodeURIComponent(register)}`];
}

describe("express-backend-monitor/process", () => {
  it("works without Express and gRPC, and loads neither", async () => {
    const bare = without(/^(express|ajv|google-protobuf|@grpc\/.*|pidusage|ps-list)$/);
    const code = `
      import { sampleProcess } from "express-backend-monitor/process";
      ${process.platform === "linux" ? "await sampleProcess(process.pid);" : ""}
      console.log(typeof sampleProcess);
    `;
    expect(await runModule(code, ...bare)).toBe("function");
    await expect(runModule('import "express-backend-monitor";', ...bare)).rejects.toThrow("loads");
  });
});

it("prom-client is loaded for express-backend-monitor/metrics alone", async () => {
  const bare = without(/^prom-client$/);
  const load = (entry: string) =>
    runModule(`import "express-backend-monitor${entry}"; console.log("loaded")`, ...bare);
  for (const entry of ["", "/process"]) expect(await load(entry)).toBe("loaded");
  await expect(load("/metrics")).rejects.toThrow("loads prom-client");
});
