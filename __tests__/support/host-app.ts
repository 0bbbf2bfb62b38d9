import express, { type Express, type Handler } from "express";
import {
  type BackendMonitorRouterOptions,
  createBackendMonitorRouter,
  InMemoryModelRegistry,
} from "../../lib/index.js";
import { startScript } from "./processes.js";

/** The model that somebody wants to stop. */
export const MODEL = "m";

export interface HostApp {
  app: Express;
  registry: InMemoryModelRegistry;
  /** The process that serves the model. */
  pid: number;
  /** What came, each with the type of its body, or with the headers that a browser asks for. */
  requests: string[];
}

/** A host app with a model whose backend is a real process. */
export async function hostApp(
  options: Partial<BackendMonitorRouterOptions> = {},
  ...before: Handler[]
): Promise<HostApp> {
  const { pid, words } = await startScript("reporting.mjs");
  const registry = new InMemoryModelRegistry();
  registry.register({ name: MODEL, address: `127.0.0.1:${words[0]}`, pid });
  const requests: string[] = [];
  const app = express();
  app.use((req, _res, next) => {
    const { "content-type": type = "", "access-control-request-headers": asksFor } = req.headers;
    const what = asksFor ? `asks for ${asksFor}` : type.replace(/; ?(boundary|charset).*/, "");
    requests.push(`${req.method} ${req.path} ${what}`.trim());
    next();
  });
  if (before.length > 0) app.use(...before);
  app.use(createBackendMonitorRouter({ registry, terminateTimeoutMs: 1_000, ...options }));
  return { app, registry, pid, requests };
}
