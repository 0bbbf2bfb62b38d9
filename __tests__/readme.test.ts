import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { ModuleKind, ScriptTarget, transpileModule } from "typescript";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import { parse } from "yaml";
import { BackendMonitor, createBackendMonitorRouter, InMemoryModelRegistry } from "../lib/index.js";
import { curl } from "./support/curl.js";
import { fails, replies, serveBackend } from "./support/grpc.js";
import { serveHttp } from "./support/http.js";
import { freePort, isLinux, kernelChildren, startScript } from "./support/processes.js";
import { type Family, parseMetrics } from "./support/prometheus.js";
import { readme, readmeBlocks } from "./support/readme.js";

const root = fileURLToPath(new URL("..", import.meta.url));
// In here, the package is found by its name.
const folder = `${root}build/readme-${process.pid}`;
const blocks = new Map(readmeBlocks().map(({ id, code }) => [id, code]));
const codeOf = (id: string) => blocks.get(id) ?? expect.fail(`README has no block "${id}"`);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Program {
  child: ChildProcess;
  port: number;
  /** What it has printed so far. */
  output: () => string;
}

/** Runs what README says, with the port that it names replaced by a free one. It is ended with the test. */
async function run(file: string, code: string): Promise<Program> {
  const port = await freePort();
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/${file}`, code.replaceAll("8080", `${port}`));
  const child = spawn(process.execPath, [`${folder}/${file}`], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const printed: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => printed.push(chunk));
  onTestFinished(async () => {
    for (const pid of kernelChildren(child.pid ?? 0)) process.kill(pid, "SIGKILL");
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return { child, port, output: () => Buffer.concat(printed).toString() };
}

function javascript(code: string): string {
  const { outputText } = transpileModule(code, {
    compilerOptions: { target: ScriptTarget.ES2022, module: ModuleKind.ESNext, experimentalDecorators: true },
  });
  return outputText;
}

async function untilListening({ port, output, child }: Program): Promise<void> {
  const isReached = () =>
    new Promise<boolean>((resolve) => {
      if (child.exitCode !== null) throw new Error(output());
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  await expect.poll(isReached).toBe(true);
}

/** Does what README's curl lines say, of a program with a backend of its own, and sees that the backend is gone. */
async function monitorAndStop(program: Program): Promise<void> {
  await untilListening(program);
  const pid = program.child.pid ?? 0;
  expect(kernelChildren(pid)).toHaveLength(1);
  const lines = codeOf("express-backend-monitor: sh 2").trim().split("\n");
  const [monitor = "", shutdown = ""] = lines.map((line) => line.replaceAll("8080", `${program.port}`));
  expect(lines).toHaveLength(2);
  expect(await curl(monitor)).toMatchObject({
    status: 200,
    json: { state: -1, memory_info: { rss: expect.any(Number) }, status_error: { code: "UNAVAILABLE" } },
  });
  expect(await curl(shutdown)).toMatchObject({ status: 200, json: { message: "model stopped" } });
  expect(kernelChildren(pid)).toEqual([]);
}

const BACKEND = `
  import { spawn } from "node:child_process";
  const backend = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
`;
const APP = `
  import express from "express";
  import { createBackendMonitorRouter, InMemoryModelRegistry } from "express-backend-monitor";
  ${BACKEND}
  const registry = new InMemoryModelRegistry();
  registry.register({ name: "my-model", address: "127.0.0.1:1", pid: backend.pid });
  const app = express();
`;
const LISTEN = "app.listen(8080);";

/** How each block is run. */
const runs: Record<string, (code: string) => Promise<void>> = {
  "express-backend-monitor: js": async (code) => monitorAndStop(await run("host.mjs", code)),
  "CommonJS: js": async (code) => monitorAndStop(await run("host.cjs", code)),
  "NestJS: ts": async (code) => monitorAndStop(await run("main.mjs", javascript(code))),

  "Start and watch backends: ts": async (code) => {
    // The only thing of it that is not real is the backend.
    const chat = `command: ${JSON.stringify(process.execPath)}, args: ["build/examples/backends/chat.js"]`;
    const program = await run(
      "supervisor.mjs",
      javascript(code).replace('command: "python3", args: ["backend.py"]', chat),
    );
    await untilListening(program);
    const url = `http://127.0.0.1:${program.port}/backend/monitor?model=my-model -H "Authorization: Bearer s3cret"`;
    await expect.poll(() => curl(`curl ${url}`)).toMatchObject({ status: 200, json: { state: 2 } });
    const [pid = 0] = kernelChildren(program.child.pid ?? 0);
    process.kill(pid, "SIGKILL");
    await expect.poll(program.output).toBe("my-model ended with SIGKILL: \n");
    // It is started again.
    await expect.poll(() => curl(`curl ${url}`)).toMatchObject({ status: 200, json: { state: 2 } });
    program.child.kill("SIGTERM");
    expect(await once(program.child, "exit")).toEqual([0, null]);
  },

  "Your own registry: js": async (code) => {
    const { port, child } = await run(
      "registry.mjs",
      `${code}${BACKEND}
       import express from "express";
       import { createBackendMonitorRouter } from "express-backend-monitor";
       const { pid } = backend;
       models.set("my-model", { name: "my-model", address: "127.0.0.1:1", pid, startTime: await processStartTime(pid) });
       const app = express();
       app.use(createBackendMonitorRouter({ registry }));
       ${LISTEN}`,
    );
    await monitorAndStop({ port, child, output: () => "" });
  },

  "OpenAPI: js": async (code) => {
    const program = await run("openapi.mjs", `${APP}${code}${LISTEN}`);
    await untilListening(program);
    const { json } = await curl(`curl http://127.0.0.1:${program.port}/openapi.json`);
    expect(json).toEqual(parse(readFileSync(`${root}openapi.yaml`, "utf8")));
  },

  "Without HTTP: js": async (code) => {
    const { child, output } = await run("monitor.mjs", `${APP}${code}`);
    await once(child, "close");
    expect(output()).toMatch(/^-1 \d{7,}n [\d.]+\n$/);
  },

  "Without HTTP: js 2": async (code) => {
    const { child, output } = await run("sample.mjs", code);
    await once(child, "close");
    expect(output()).toMatch(/^1 \d{7,} [\d.]+\n$/);
  },

  "Logging: js": async (code) => {
    const program = await run("logging.mjs", `${APP}${code}${LISTEN}`);
    await monitorAndStop(program);
    const messages = () =>
      program
        .output()
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line).msg);
    await expect
      .poll(messages)
      .toEqual([
        expect.stringMatching(
          /^express-backend-monitor: model "my-model" is monitored by the operating system, /,
        ),
        expect.stringMatching(
          /^express-backend-monitor: shutdown of model "my-model": stopped after \d+ ms, 1 process ended$/,
        ),
      ]);
  },

  "Dashboard: js": async (code) => {
    const program = await run(
      "dashboard.mjs",
      `${APP}${code.replace("createBackendMonitorRouter", "")}${LISTEN}`,
    );
    await untilListening(program);
    const url = `http://127.0.0.1:${program.port}`;
    const page = `${url}/admin/backends/`;
    // That is the address to open.
    expect(readme).toContain(`\`${page.replace(`${program.port}`, "8080")}\``);
    const alice = `-H "Authorization: Basic ${Buffer.from("alice:s3cret").toString("base64")}"`;
    expect((await curl(`curl ${page}`)).headers["www-authenticate"]).toMatch(/^Basic /);
    expect((await curl(`curl ${page} ${alice}`)).text).toMatch(/^<!doctype html>/i);
    expect((await curl(`curl ${page}api/backends ${alice}`)).json.models).toMatchObject([
      { name: "my-model" },
    ]);
    // One monitor does both.
    const token = '-H "Authorization: Bearer s3cret" -H "Content-Type: application/json"';
    const stop = await curl(`curl ${url}/backend/shutdown ${token} -d '{"model": "my-model"}'`);
    expect(stop.json).toEqual({ message: "model stopped" });
    expect((await curl(`curl ${page}api/backends ${alice}`)).json.models).toEqual([]);
  },

  "Metrics: js": async (code) => {
    const program = await run("metrics.mjs", `${APP}${code}${LISTEN}`);
    await untilListening(program);
    const scrape = () => curl(`curl http://127.0.0.1:${program.port}/metrics`);
    expect((await scrape()).headers["content-type"]).toMatch(/^text\/plain; version=0\.0\.4/);
    // Its table has what there is, each with its labels.
    const rows = readme.matchAll(/^\| `(backend_\w+)` +\|([^|]*)\|/gm);
    const documented = Array.from(rows, ([, name = "", labels = ""]) => [
      name,
      (labels.match(/\w+/g) ?? []).sort(),
    ]);
    const labelsOf = ({ samples }: Family) => Object.keys(samples.at(-1)?.labels ?? {}).sort();
    const scraped = async () => {
      const families = [...parseMetrics((await scrape()).text).values()];
      return Object.fromEntries(families.map((family) => [family.name, labelsOf(family)]));
    };
    await expect.poll(scraped).toEqual(Object.fromEntries(documented));
    await monitorAndStop(program);
  },

  "Logging: text": async (code) => {
    const lines: string[] = [];
    const logger = { info: (line: string) => lines.push(line), error: (line: string) => lines.push(line) };
    const registry = new InMemoryModelRegistry();
    const { pid } = await startScript("family.mjs");
    const plain = await serveBackend({
      Status: fails(12, "The server does not implement the method Status"),
    });
    const chat = await serveBackend({ Status: replies({ state: 1 }) });
    registry.register({ name: "plain", address: plain.address, pid });
    registry.register({ name: "chat", address: chat.address });
    const monitor = new BackendMonitor({ registry, logger, drainTimeoutMs: 0 });
    onTestFinished(() => monitor.close());
    await monitor.status("plain");
    plain.stop();
    await monitor.shutdown("plain");
    await expect(monitor.shutdown("chat")).rejects.toThrow();
    const anyNumbers = (text: string) => text.replace(/\d+/g, "0");
    expect(lines.map(anyNumbers)).toEqual(anyNumbers(code).trim().split("\n"));
  },

  "Errors: json": async (code) => {
    const router = createBackendMonitorRouter({ registry: new InMemoryModelRegistry() });
    const send = await serveHttp((await import("express")).default().use(router));
    const { json, status } = await send("/backend/monitor?model=my-model");
    expect([status, json]).toEqual([500, JSON.parse(code)]);
  },
};

/** What is run elsewhere: the commands of a newcomer, and what the example answers. */
const elsewhere: Record<string, string> = {
  "express-backend-monitor: console": "examples/server.test.ts",
  "express-backend-monitor: sh": "packed/setup.ts",
  "express-backend-monitor: sh 2": "readme.test.ts",
  "Try it in a clone: sh": "readme.test.ts",
};

describe.skipIf(!isLinux)("README", () => {
  it.each(Object.entries(runs))("runs %s", async (id, runBlock) => runBlock(codeOf(id)));
});

describe("README", () => {
  it("has no block that is not run", () => {
    expect([...blocks.keys()].sort()).toEqual([...Object.keys(runs), ...Object.keys(elsewhere)].sort());
    for (const file of Object.values(elsewhere)) expect(existsSync(`${root}__tests__/${file}`)).toBe(true);
  });

  it("names the command that is run for each change", () => {
    expect(codeOf("Try it in a clone: sh")).toContain("npm ci && npm test ");
    expect(readFileSync(`${root}.ci/run`, "utf8")).toContain("\nnpm ci && npm test\n");
  });

  it("has no link into nowhere", () => {
    const anchors = [...readme.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replace(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    );
    for (const [, target = ""] of readme.matchAll(/\]\(([^)]+)\)/g)) {
      if (target.startsWith("#")) expect(anchors).toContain(target.slice(1));
      else if (!target.startsWith("http")) expect(existsSync(root + target)).toBe(true);
    }
  });
});
