import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { describe, expect, inject, it, onTestFinished } from "vitest";
import { json, send } from "../support/http.js";
import { samplesOf } from "../support/metrics.js";
import { freeze, isLinux, isRunning, kernelBytes } from "../support/processes.js";
import { parseMetrics } from "../support/prometheus.js";
import type { ProjectName } from "./setup.js";

interface Host {
  process: ChildProcess;
  url: string;
  /** The process id of its backend. */
  backend: number;
  /** Its exit code and all that it wrote to stderr, once it has ended. */
  ended: Promise<[code: number | null, stderr: string]>;
}

/** Runs a file of a project, which prints its port and the process id of its backend when it is ready. */
async function startHost(node: string, project: ProjectName, file: string): Promise<Host> {
  const cwd = inject("projects")[project];
  const host = spawn(node, [file], { cwd, env: { ...process.env, PORT: "0" } });
  onTestFinished(() => void host.kill("SIGKILL"));
  const ended = Promise.all([once(host, "exit"), text(host.stderr)]).then(
    ([[code], stderr]): [number | null, string] => [code, stderr],
  );
  const line = await Promise.race([
    once(createInterface({ input: host.stdout }), "line"),
    ended.then(([code, stderr]) => Promise.reject(new Error(`${file} ended with ${code}: ${stderr}`))),
  ]);
  const [port, backend = 0] = String(line).split(" ").map(Number);
  onTestFinished(() => {
    if (isRunning(backend)) process.kill(backend, "SIGKILL");
  });
  return { process: host, url: `http://127.0.0.1:${port}`, backend, ended };
}

const nodes = Object.entries(inject("nodes"));
const hosts = nodes.map(([version, node]) => ({ version, node, project: "express 5" as ProjectName }));
// What changed from Express 4 to 5 and from Node to Node has nothing to do with each other.
for (const oldest of hosts.slice(0, 1)) hosts.push({ ...oldest, project: "express 4" });

describe.each(hosts)("on Node $version and $project", { timeout: 60_000 }, ({ node, project }) => {
  it.each(["mount.mjs", "mount.cjs"])("%s has a process of its own monitored and stopped", async (file) => {
    const host = await startHost(node, project, file);
    if (isLinux) await freeze(host.backend);
    const monitored = await send(`${host.url}/backend/monitor?model=my-model`);
    expect(monitored).toMatchObject({ status: 200, json: { state: -1 } });
    if (isLinux) expect(monitored.json.memory.total).toBe(kernelBytes(host.backend, "VmRSS"));
    const page = await send(`${host.url}/dashboard/`);
    expect(page).toMatchObject({ status: 200, text: expect.stringMatching(/^<!doctype html>/i) });
    const shown = await send(`${host.url}/dashboard/api/backends`);
    expect(shown).toMatchObject({ status: 200, json: { models: [{ name: "my-model", pid: host.backend }] } });
    const stopped = await send(`${host.url}/backend/shutdown`, json({ model: "my-model" }));
    expect(stopped).toMatchObject({ status: 200, json: { message: "model stopped" } });
    expect(isRunning(host.backend)).toBe(false);
    // It closes its server then, and nothing else keeps it.
    expect(await host.ended).toEqual([0, ""]);
  });

  it.each(["supervise.mjs", "supervise.cjs"])("%s has a gRPC backend monitored and stopped", async (file) => {
    const host = await startHost(node, project, file);
    const path = `${host.url}/admin/v1/backend`;
    expect((await send(`${path}/monitor?model=my-model`)).status).toBe(401);
    const authorization = "Bearer s3cret";
    const monitored = await send(`${path}/monitor?model=my-model`, { headers: { authorization } });
    expect(monitored.text).toBe('{"state":2,"memory":{"total":7,"breakdown":{"weights":7}}}');
    if (isLinux) expect(isRunning(host.backend)).toBe(true);
    const request = json({ model: "my-model" });
    const headers = { ...request.headers, authorization };
    const stopped = await send(`${path}/shutdown`, { ...request, headers });
    expect(stopped).toMatchObject({ status: 200, json: { message: "model stopped" } });
    expect(isRunning(host.backend)).toBe(false);
    host.process.kill("SIGTERM");
    expect(await host.ended).toEqual([0, ""]);
  });
});

describe.each(nodes)("on Node %s, with prom-client", { timeout: 60_000 }, (_version, node) => {
  it.each(["metrics.mjs", "metrics.cjs"])("%s has metrics", async (file) => {
    const cwd = inject("projects")["prom-client 15.0"];
    const { stdout, stderr } = await promisify(execFile)(node, [file], { cwd });
    const families = parseMetrics(stdout.slice(0, -1));
    expect(samplesOf(families, "backend_models")).toMatchObject([{ value: 1 }]);
    if (isLinux) expect(samplesOf(families, "backend_cpu_seconds_total")).toHaveLength(1);
    expect(stderr).toBe("");
  });
});

describe.each(nodes)("on Node %s, with no Express", { timeout: 60_000 }, (_version, node) => {
  it.each([
    ["sample.mjs", "true SIGTERM\n"],
    ["sample.cjs", "true\n"],
  ])("%s uses express-backend-monitor/process", async (file, stdout) => {
    const cwd = inject("projects")["process alone"];
    expect(existsSync(join(cwd, "node_modules/express"))).toBe(false);
    expect(await promisify(execFile)(node, [file], { cwd })).toEqual({ stdout, stderr: "" });
  });
});
