import type { SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { expect } from "vitest";
import type { BackendMonitorRouterOptions, LoadedModel } from "../../lib/index.js";
import { monitorInTime, pollBystander, STATUS_TIMEOUT_MS } from "./faults.js";
import { type Answer, type RequestOptions, send } from "./http.js";
import { script, start, startScript } from "./processes.js";

export interface HostProcess {
  url: string;
  send(path: string, options?: RequestOptions): Promise<Answer>;
  /** Sends `GET /backend/monitor` for a model. The answer has to come within the deadline. */
  monitor(model: string): Promise<Answer>;
}

interface Setting extends Pick<BackendMonitorRouterOptions, "statusTimeoutMs"> {
  /** Models that are registered with their process. */
  registered?: LoadedModel[];
  /** Models that a registry of the host's own gives just as they are. */
  own?: LoadedModel[];
  /** How long the bystander may have to wait at most. */
  lateMs?: number;
  /** The user that the host becomes. */
  user?: number;
}

/** As {@link undisturbed}, against a host app in a process of its own: `within` is the command that starts it. */
export async function undisturbedProcess(
  { registered = [], own = [], statusTimeoutMs = STATUS_TIMEOUT_MS, lateMs, user }: Setting,
  fault: (host: HostProcess) => Promise<void>,
  { within = [], ...options }: SpawnOptions & { within?: string[] } = {},
): Promise<void> {
  const { pid, words } = await startScript("reporting.mjs");
  const bystander = { name: "bystander", address: `127.0.0.1:${words[0]}`, pid };
  const setting = { registered: [bystander, ...registered], own, statusTimeoutMs, user };
  const [command = "", ...args] = [...within, process.execPath, script("host.mjs"), JSON.stringify(setting)];
  const host = await start(command, args, options);
  const url = host.words[0] ?? "";
  const monitor = (model: string) => monitorInTime(url, model, statusTimeoutMs);

  const wasUndisturbed = pollBystander(url, lateMs);
  await fault({ url, monitor, send: (path, request) => send(`${url}${path}`, request) });
  await wasUndisturbed();

  // The connection to a backend is closed when its model is found not to be loaded any more.
  await send(url, { method: "DELETE" });
  for (const { name } of [bystander, ...registered, ...own]) {
    expect((await monitor(name)).json.error.type).toBe("model_not_loaded");
  }
  // With a handle left, it would not end by itself.
  const exited = once(host.process, "exit");
  host.process.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
}
