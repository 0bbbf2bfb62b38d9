/**
 * The servers that are compared, one a process. All have `GET /backend/monitor?model=N`, for the models "0", "1", …
 *
 *   node server.js KIND PID ADDRESS [ADDRESS …]
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import {
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  type ServiceClientConstructor,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import express, { type Express } from "express";
import { createBackendMonitorRouter, InMemoryModelRegistry } from "express-backend-monitor";
import pidusage from "pidusage";
import psList from "ps-list";

/** What the parent is told when the server is there. */
export interface Listening {
  port: number;
}

/** What it is told when it asks. */
export interface Cost {
  /** Used by this process since it was started, in seconds. */
  cpuSeconds: number;
}

const [kind = "", pid = "", ...addresses] = process.argv.slice(2);

type StatusCallback = (error: Error | null, reply: object) => void;
interface HandMadeClient {
  Status(request: object, options: object, callback: StatusCallback): void;
  close(): void;
}

function loadClient(): new (address: string, plain: object) => HandMadeClient {
  const proto = fileURLToPath(import.meta.resolve("express-backend-monitor/protos/backend.proto"));
  const definition = loadPackageDefinition(
    loadSync(proto, { longs: Number, enums: Number, keepCase: true, defaults: true }),
  );
  const { Backend } = definition.backend as GrpcObject;
  return Backend as ServiceClientConstructor as unknown as new (
    address: string,
    plain: object,
  ) => HandMadeClient;
}

function callStatus(client: HandMadeClient): Promise<object> {
  return new Promise((resolve, reject) => {
    client.Status({}, { deadline: Date.now() + 2000 }, (error, reply) =>
      error ? reject(error) : resolve(reply),
    );
  });
}

const servers: Record<string, (app: Express) => void> = {
  /** An Express route that answers the same from a constant. */
  bare(app) {
    const answer = JSON.stringify(STATUS);
    app.get("/backend/monitor", (_req, res) => {
      res.setHeader("Content-Type", "application/json; charset=utf-8");
      res.setHeader("Cache-Control", "no-store");
      res.setHeader("Content-Length", Buffer.byteLength(answer));
      res.end(answer);
    });
  },

  /** A new channel for each request, as LocalAI does it. */
  dialling(app) {
    const Client = loadClient();
    app.get("/backend/monitor", async (req, res) => {
      const client = new Client(addresses[Number(req.query.model)] ?? "", credentials.createInsecure());
      try {
        res.json(await callStatus(client));
      } finally {
        client.close();
      }
    });
  },

  /** What a good developer writes in an hour. */
  "by hand"(app) {
    const Client = loadClient();
    const clients = addresses.map((address) => new Client(address, credentials.createInsecure()));
    app.get("/backend/monitor", async (req, res) => {
      const client = clients[Number(req.query.model)];
      if (!client) return void res.status(404).json({ error: "no such model" });
      res.json(await callStatus(client));
    });
  },

  /** The same hour, for a backend that has no Status. */
  "by hand, fallback"(app) {
    app.get("/backend/monitor", async (_req, res) => {
      const table = await psList();
      const tree = [Number(pid)];
      for (const parent of tree) {
        tree.push(...table.filter(({ ppid }) => ppid === parent).map((child) => child.pid));
      }
      const usage = Object.values(await pidusage(tree)).filter((each) => each !== undefined);
      const memory = usage.reduce((sum, each) => sum + each.memory, 0);
      const cpu = usage.reduce((sum, each) => sum + each.cpu, 0);
      res.json({ state: 2, memory: { total: memory, breakdown: {} }, cpu_percent: cpu });
    });
  },

  monitor(app) {
    const registry = new InMemoryModelRegistry();
    for (const [index, address] of addresses.entries()) {
      registry.register({ name: `${index}`, address, pid: Number(pid) });
    }
    app.use(createBackendMonitorRouter({ registry }));
  },
};

const STATUS = { state: 2, memory: { total: 300, breakdown: { weights: 200, kv_cache: 100 } } };

const app = express();
servers[kind]?.(app);
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  const cost: Cost = { cpuSeconds: (user + system) / 1e6 };
  process.send?.(cost);
});
process.on("disconnect", () => process.exit());
const listening: Listening = { port: (server.address() as AddressInfo).port };
process.send?.(listening);
