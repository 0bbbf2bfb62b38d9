import express from "express";
import {
  BackendCallError,
  type BackendClient,
  type BackendClientFactory,
  BackendMonitor,
  BackendState,
  BackendSupervisor,
  bearerAuth,
  createBackendMonitorRouter,
  type ErrorAnswer,
  grpcBackendClient,
  InMemoryModelRegistry,
  type LoadedModel,
  type ModelRegistry,
  MonitorError,
} from "express-backend-monitor";
import { createDashboardRouter } from "express-backend-monitor/dashboard";
import { type ProcessSample, sampleProcess, terminateProcessTree } from "express-backend-monitor/process";

const memory = new InMemoryModelRegistry();
memory.register({ name: "my-model", address: "127.0.0.1:50051", pid: 4711 });
memory.register({ name: "contained", address: "127.0.0.1:50052", stop: async () => {} });

interface Model extends LoadedModel {
  readonly weights: string;
}

class OwnRegistry implements ModelRegistry {
  readonly #models = new Map<string, Model>();
  get(name: string): Model | undefined {
    return this.#models.get(name);
  }
  async list(): Promise<Model[]> {
    return [...this.#models.values()];
  }
  async shutdown(name: string, { timeoutMs }: { timeoutMs: number }): Promise<void> {
    const pid = this.#models.get(name)?.pid;
    if (pid !== undefined) await terminateProcessTree(pid, { timeoutMs });
    this.#models.delete(name);
  }
}

const ownClient: BackendClientFactory = (model): BackendClient => ({
  status: async (signal) => {
    if (signal.aborted) throw new BackendCallError("CANCELLED", model.name);
    return { state: BackendState.READY, memory: { total: 1n, breakdown: { weights: 1n } } };
  },
  health: async () => true,
  free: async () => {},
  close: () => {},
});

const guard: express.RequestHandler = (_req, _res, next) => next();
const router: express.Router = createBackendMonitorRouter({
  registry: new OwnRegistry(),
  createClient: ownClient,
  authorize: [guard, bearerAuth(["s3cret"])],
  statusTimeoutMs: 1_000,
  drainTimeoutMs: undefined,
  logger: console,
});
const app = express();
app.use(router);
const monitor = new BackendMonitor({ registry: memory });
app.use("/dashboard", createDashboardRouter({ monitor, authorize: guard, sampleIntervalMs: 2_000 }));
app.use("/admin", createBackendMonitorRouter({ registry: memory, createClient: grpcBackendClient() }));

const supervisor = new BackendSupervisor({ createClient: grpcBackendClient({ token: "s3cret" }) });
supervisor.on("exit", ({ name, code, signal }) =>
  console.error(name.toUpperCase(), signal ?? code?.toFixed()),
);

export async function watch(): Promise<bigint | number | null | undefined> {
  await using started = supervisor;
  const model = await started.start({
    name: "my-model",
    command: "python3",
    args: ["backend.py"],
    restart: {},
  });
  const sample: ProcessSample = await sampleProcess(model.pid ?? 0);
  const monitor = new BackendMonitor({ registry: started });
  try {
    const { state, memory } = await monitor.status("my-model");
    return state === BackendState.READY ? memory.total : sample.rss;
  } catch (error) {
    const answer: ErrorAnswer["error"]["type"] | undefined =
      error instanceof MonitorError ? error.type : undefined;
    return answer?.length;
  } finally {
    await monitor.shutdown("my-model", { force: true });
    monitor.close();
  }
}

// @ts-expect-error a registry is required
createBackendMonitorRouter({});
// @ts-expect-error one method of a registry is not a registry
createBackendMonitorRouter({ registry: { get: () => undefined } });
// @ts-expect-error a dashboard shows a monitor
createDashboardRouter({ registry: memory });
// @ts-expect-error there is no such option
createBackendMonitorRouter({ registry: memory, statusTimeout: 1_000 });
// @ts-expect-error milliseconds are a number
createBackendMonitorRouter({ registry: memory, statusTimeoutMs: "1s" });
// @ts-expect-error a guard is a handler
createBackendMonitorRouter({ registry: memory, authorize: "s3cret" });
// @ts-expect-error a logger has error()
createBackendMonitorRouter({ registry: memory, logger: {} });
// @ts-expect-error a process id is a number
memory.register({ name: "my-model", address: "127.0.0.1:50051", pid: "4711" });
// @ts-expect-error an address is required
memory.register({ name: "my-model" });
// @ts-expect-error tokens are several
bearerAuth("s3cret");
// @ts-expect-error a command is required
supervisor.start({ name: "my-model" });
