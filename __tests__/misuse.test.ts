import { credentials } from "@grpc/grpc-js";
import { parseUri, splitHostPort } from "@grpc/grpc-js/build/src/uri-parser.js";
import express from "express";
import * as promClient from "prom-client";
import { describe, expect, it } from "vitest";
import { createDashboardRouter } from "../lib/dashboard/index.js";
import {
  BackendMonitor,
  BackendSupervisor,
  bearerAuth,
  createBackendMonitorRouter,
  grpcBackendClient,
  InMemoryModelRegistry,
} from "../lib/index.js";
import { registerBackendMetrics } from "../lib/metrics/index.js";
import { processStartTime, sampleProcess, terminateProcessTree } from "../lib/process/index.js";

const registry = new InMemoryModelRegistry();
const guard = bearerAuth(["s3cret"]);
const address = "127.0.0.1:50051";
const TARGET =
  'a gRPC target such as "127.0.0.1:50051", "[::1]:50051", "unix:/run/llama.sock" or "dns:///host:50051"';
const NAME = "a name of 1 to 512 characters without control characters";
const MS = "a whole number of milliseconds from 0 to 86400000";
const INTERVAL = "a whole number of milliseconds from 100 to 60000";
const PID = "a process id: a whole number from 1";
const HANDLER = "an Express handler (req, res, next), or an array of at least one";
const TOKEN = "a token of visible ASCII characters without a space";

/** What JavaScript lets one pass, whatever the types say. */
const anything = (value: unknown) => value as never;
const router = (options: unknown) => () => createBackendMonitorRouter(anything(options));
const dashboard = (options: unknown) => () => createDashboardRouter(anything(options));
const monitor = new BackendMonitor({ registry });
const register = (options: unknown) => () => registry.register(anything(options));
const start = (options: unknown) => () => new BackendSupervisor().start(anything(options));
const client = (options: unknown) => () => grpcBackendClient(anything(options));
const metrics = (options: unknown) => () => registerBackendMetrics(anything(options));
const auth = (tokens: unknown) => () => bearerAuth(anything(tokens));

const isWrong: [what: string, call: () => unknown, message: string][] = [
  ["no options", router(undefined), "createBackendMonitorRouter takes an object of options, got undefined"],
  [
    "a guard as options",
    router(guard),
    "createBackendMonitorRouter takes an object of options, got a function",
  ],
  [
    "a list as options",
    router([registry]),
    "createBackendMonitorRouter takes an object of options, got an array",
  ],
  [
    "the registry as options",
    router(registry),
    'createBackendMonitorRouter: option "registry" takes an object with get(), list(), shutdown(), got undefined',
  ],
  [
    "a guard behind the options",
    () => createBackendMonitorRouter(...(anything([{ registry }, guard]) as [never])),
    'createBackendMonitorRouter takes one argument, its options, got 2; a guard is its option "authorize", and it is called where it ' +
      "is mounted: app.use(createBackendMonitorRouter({ registry }))",
  ],
  [
    "a guard as registry",
    router({ registry: guard }),
    'createBackendMonitorRouter: option "registry" takes an object with get(), list(), shutdown(), got a function',
  ],
  [
    "a registry without a method",
    router({ registry: { get: () => undefined, shutdown: () => {} } }),
    'createBackendMonitorRouter: option "registry" takes an object with get(), list(), shutdown(), got an object without list()',
  ],
  [
    "a map as registry",
    router({ registry: new Map() }),
    'createBackendMonitorRouter: option "registry" takes an object with get(), list(), shutdown(), got an object without list(), shutdown()',
  ],
  [
    "a guard as createClient",
    router({ registry, createClient: guard }),
    'createBackendMonitorRouter: option "createClient" takes a function of one argument, the model, such as grpcBackendClient() ' +
      "returns, got a function of 3 arguments",
  ],
  [
    "a factory that was not made",
    router({ registry, createClient: grpcBackendClient }),
    'createBackendMonitorRouter: option "createClient" takes a function of one argument, the model, such as grpcBackendClient() ' +
      "returns, got grpcBackendClient itself; call it",
  ],
  [
    "bearerAuth that was not called",
    router({ registry, authorize: bearerAuth }),
    `createBackendMonitorRouter: option "authorize" takes ${HANDLER}, got bearerAuth itself; call it`,
  ],
  [
    "a handler for errors as guard",
    router({ registry, authorize: [guard, (_error: 1, _req: 2, _res: 3, next: () => void) => next()] }),
    `createBackendMonitorRouter: option "authorize" takes ${HANDLER}, got an array with a function of 4 arguments at index 1`,
  ],
  [
    "no guard in a list",
    router({ registry, authorize: [] }),
    `createBackendMonitorRouter: option "authorize" takes ${HANDLER}, got an empty array`,
  ],
  [
    "a hole as guard",
    router({ registry, authorize: new Array(1) }),
    `createBackendMonitorRouter: option "authorize" takes ${HANDLER}, got an array with undefined at index 0`,
  ],
  [
    "a hole as token",
    auth(new Array(1)),
    `bearerAuth takes an array of at least one: ${TOKEN}, got an array with undefined at index 0`,
  ],
  [
    "a token as guard",
    router({ registry, authorize: "admin" }),
    `createBackendMonitorRouter: option "authorize" takes ${HANDLER}, got the string "admin"`,
  ],
  [
    "a misspelt option",
    router({ registry, authorise: guard }),
    'createBackendMonitorRouter has no option "authorise"; its options are registry, createClient, statusTimeoutMs, ' +
      "drainTimeoutMs, freeTimeoutMs, terminateTimeoutMs, logger, authorize, allowedHosts",
  ],
  [
    "half of a millisecond",
    router({ registry, statusTimeoutMs: 1.5 }),
    `createBackendMonitorRouter: option "statusTimeoutMs" takes ${MS}, got the number 1.5`,
  ],
  [
    "a number from the environment",
    router({ registry, terminateTimeoutMs: "5000" }),
    `createBackendMonitorRouter: option "terminateTimeoutMs" takes ${MS}, got the string "5000"`,
  ],
  [
    "a function as logger",
    router({ registry, logger: console.log }),
    'createBackendMonitorRouter: option "logger" takes an object with info(), error(), got a function',
  ],
  [
    "half a logger",
    router({ registry, logger: { error: () => {} } }),
    'createBackendMonitorRouter: option "logger" takes an object with info(), error(), got an object without info()',
  ],
  [
    "an option of the router",
    () => new BackendMonitor(anything({ registry, authorize: guard })),
    'BackendMonitor has no option "authorize"; its options are registry, createClient, statusTimeoutMs, drainTimeoutMs, freeTimeoutMs, terminateTimeoutMs, logger',
  ],
  [
    "a model instead of its name",
    () => new BackendMonitor({ registry }).status(anything({ name: "m" })),
    "status takes a model's name, which is a string, got an object",
  ],
  [
    "no model to shut down",
    () => new BackendMonitor({ registry }).shutdown(anything(undefined)),
    "shutdown takes a model's name, which is a string, got undefined",
  ],
  [
    "a misspelt force",
    () => new BackendMonitor({ registry }).shutdown("m", anything({ forced: true })),
    'shutdown has no option "forced"; its options are force',
  ],
  [
    "a number as force",
    () => new BackendMonitor({ registry }).shutdown("m", anything({ force: 1 })),
    'shutdown: option "force" takes true or false, got the number 1',
  ],

  [
    "no options for a dashboard",
    dashboard(undefined),
    "createDashboardRouter takes an object of options, got undefined",
  ],
  [
    "a monitor as options of a dashboard",
    dashboard(monitor),
    'createDashboardRouter has no option "_events"; its options are monitor, sampleIntervalMs, authorize, allowedHosts',
  ],
  [
    "no monitor",
    dashboard({ authorize: guard }),
    'createDashboardRouter: option "monitor" takes a BackendMonitor, got undefined',
  ],
  [
    "a registry as monitor",
    dashboard({ monitor: registry }),
    'createDashboardRouter: option "monitor" takes a BackendMonitor, got an object',
  ],
  [
    "an option of the monitor for a dashboard",
    dashboard({ monitor, registry }),
    'createDashboardRouter has no option "registry"; its options are monitor, sampleIntervalMs, authorize, allowedHosts',
  ],
  [
    "a guard behind the options of a dashboard",
    () => createDashboardRouter(...(anything([{ monitor }, guard]) as [never])),
    'createDashboardRouter takes one argument, its options, got 2; a guard is its option "authorize", and it is called where it ' +
      'is mounted: app.use("/admin/backends", createDashboardRouter({ monitor }))',
  ],
  [
    "seconds as sampleIntervalMs",
    dashboard({ monitor, sampleIntervalMs: 1 }),
    `createDashboardRouter: option "sampleIntervalMs" takes ${INTERVAL}, got the number 1`,
  ],
  [
    "more than a minute as sampleIntervalMs",
    dashboard({ monitor, sampleIntervalMs: 60_001 }),
    `createDashboardRouter: option "sampleIntervalMs" takes ${INTERVAL}, got the number 60001`,
  ],
  [
    "half of a millisecond as sampleIntervalMs",
    dashboard({ monitor, sampleIntervalMs: 100.5 }),
    `createDashboardRouter: option "sampleIntervalMs" takes ${INTERVAL}, got the number 100.5`,
  ],
  [
    "bearerAuth that was not called for a dashboard",
    dashboard({ monitor, authorize: bearerAuth }),
    `createDashboardRouter: option "authorize" takes ${HANDLER}, got bearerAuth itself; call it`,
  ],
  [
    "a URL as allowed host of a dashboard",
    dashboard({ monitor, allowedHosts: ["http://localhost"] }),
    'createDashboardRouter: option "allowedHosts" takes an array of at least one: a host name or an address, with or without a port ' +
      '("localhost", "127.0.0.1:8080", "[::1]"), got an array with the string "http://localhost" at index 0',
  ],

  ["a name instead of a model", register("m"), 'register takes an object of options, got the string "m"'],
  ["a model without a name", register({ address }), `register: option "name" takes ${NAME}, got undefined`],
  [
    "a name that no request can have",
    register({ name: "a\nb", address }),
    `register: option "name" takes ${NAME}, got the string "a\\nb"`,
  ],
  [
    "a name that is too long",
    register({ name: "🦙".repeat(513), address }),
    `register: option "name" takes ${NAME}, got the string "${"🦙".repeat(100)}…"`,
  ],
  [
    "a model without an address",
    register({ name: "m" }),
    `register: option "address" takes ${TARGET}, got undefined`,
  ],
  [
    "a URL as address",
    register({ name: "m", address: "http://127.0.0.1:50051" }),
    `register: option "address" takes ${TARGET}, got the string "http://127.0.0.1:50051"`,
  ],
  [
    "a pid that is no number",
    register({ name: "m", address, pid: "4711" }),
    `register: option "pid" takes ${PID}, got the string "4711"`,
  ],
  [
    "a pid of 0",
    register({ name: "m", address, pid: 0 }),
    `register: option "pid" takes ${PID}, got the number 0`,
  ],
  [
    "a negative pid",
    register({ name: "m", address, pid: -1 }),
    `register: option "pid" takes ${PID}, got the number -1`,
  ],
  [
    "a command as stop",
    register({ name: "m", address, stop: "docker stop m" }),
    'register: option "stop" takes a function, got the string "docker stop m"',
  ],

  [
    "a command line as args",
    start({ name: "m", command: "sh", args: "-c true" }),
    'start: option "args" takes an array of strings, got the string "-c true"',
  ],
  [
    "a number among args",
    start({ name: "m", command: "sh", args: ["--port", 8080] }),
    'start: option "args" takes an array of strings, got an array with the number 8080 at index 1',
  ],
  [
    "a list as env",
    start({ name: "m", command: "sh", env: [] }),
    'start: option "env" takes an object with strings, got an array',
  ],
  [
    "a port as address",
    start({ name: "m", command: "sh", address: "50051:" }),
    `start: option "address" takes ${TARGET}, got the string "50051:"`,
  ],
  [
    "a secret in env",
    start({ name: "m", command: "sh", env: { TOKEN: 5 } }),
    'start: option "env" takes an object with strings, got a number for "TOKEN"',
  ],
  [
    "true as restart",
    start({ name: "m", command: "sh", restart: true }),
    'start: option "restart" takes an object, got the boolean true',
  ],
  [
    "a misspelt option of restart",
    start({ name: "m", command: "sh", restart: { retries: 3 } }),
    'start, in its option "restart" has no option "retries"; its options are maxRetries, minDelayMs, maxDelayMs',
  ],
  [
    "a client as createClient",
    () => new BackendSupervisor(anything({ createClient: {} })),
    'BackendSupervisor: option "createClient" takes a function of one argument, the model, such as grpcBackendClient() returns, got an object',
  ],
  [
    "no signal to follow a log until",
    () => new BackendSupervisor().followLogs("m", anything(undefined)),
    "followLogs takes an AbortSignal as its second argument, got undefined",
  ],
  [
    "an AbortController in place of its signal",
    () => new BackendSupervisor().followLogs("m", anything(new AbortController())),
    "followLogs takes an AbortSignal as its second argument, got an object",
  ],

  ["a string of tokens", auth("s3cret"), `bearerAuth takes an array of at least one: ${TOKEN}, got a string`],
  ["no token at all", auth([]), `bearerAuth takes an array of at least one: ${TOKEN}, got an empty array`],
  [
    "an empty token",
    auth(["s3cret", ""]),
    `bearerAuth takes an array of at least one: ${TOKEN}, got an array with an empty string at index 1`,
  ],
  [
    "a token from a variable that is not set",
    auth([undefined]),
    `bearerAuth takes an array of at least one: ${TOKEN}, got an array with undefined at index 0`,
  ],
  [
    "a token with its scheme",
    auth(["Bearer s3cret"]),
    `bearerAuth takes an array of at least one: ${TOKEN}, got an array with a string at index 0`,
  ],
  [
    "an empty token for backends",
    client({ token: "" }),
    `grpcBackendClient: option "token" takes ${TOKEN}, got an empty string`,
  ],
  [
    "a secret that no header can carry",
    client({ token: "s3 cret" }),
    `grpcBackendClient: option "token" takes ${TOKEN}, got a string`,
  ],
  [
    "credentials for calls",
    client({ credentials: credentials.createEmpty() }),
    'grpcBackendClient: option "credentials" takes channel credentials of the same @grpc/grpc-js that this package uses, got an object',
  ],

  [
    "no options for metrics",
    metrics(undefined),
    "registerBackendMetrics takes an object of options, got undefined",
  ],
  [
    "a register alone",
    metrics(new promClient.Registry()),
    'registerBackendMetrics has no option "_metrics"; its options are monitor, register',
  ],
  [
    "options of a monitor in its place",
    metrics({ monitor: { registry }, register: new promClient.Registry() }),
    'registerBackendMetrics: option "monitor" takes a BackendMonitor, got an object',
  ],
  [
    "the registry of models as the one of metrics",
    metrics({ monitor: new BackendMonitor({ registry }), register: registry }),
    'registerBackendMetrics: option "register" takes a Registry of prom-client, got an object without registerMetric(), getSingleMetric()',
  ],
  [
    "all of prom-client as register",
    metrics({ monitor: new BackendMonitor({ registry }), register: promClient }),
    'registerBackendMetrics: option "register" takes a Registry of prom-client, got an object without registerMetric(), getSingleMetric()',
  ],
  [
    "a class as register",
    metrics({ monitor: new BackendMonitor({ registry }), register: promClient.Registry }),
    'registerBackendMetrics: option "register" takes a Registry of prom-client, got a function',
  ],
  [
    "no register",
    metrics({ monitor: new BackendMonitor({ registry }) }),
    'registerBackendMetrics: option "register" takes a Registry of prom-client, got undefined',
  ],

  [
    "a pid of a sample",
    () => sampleProcess(anything("4711")),
    `sampleProcess takes ${PID}, got the string "4711"`,
  ],
  [
    "a child instead of its pid",
    () => terminateProcessTree(anything({ pid: 1 })),
    `terminateProcessTree takes ${PID}, got an object`,
  ],
  [
    "no pid to look up",
    () => processStartTime(anything(Number.NaN)),
    `processStartTime takes ${PID}, got the number NaN`,
  ],
  [
    "a figure as previous",
    () => sampleProcess(process.pid, anything({ previous: 5 })),
    'sampleProcess: option "previous" takes a sample, as sampleProcess() gives it, got the number 5',
  ],
  [
    "a date as start time",
    () => sampleProcess(process.pid, anything({ startTime: "now" })),
    'sampleProcess: option "startTime" takes a number, as processStartTime() gives it, got the string "now"',
  ],
];

describe("is told of at the call:", () => {
  it.each(isWrong)("%s", async (_what, call, message) => {
    // Some of these are async.
    const outcome = new Promise((resolve) => resolve(call()));
    await expect(outcome).rejects.toThrow(TypeError);
    await expect(outcome).rejects.toHaveProperty("message", message);
  });

  it("a router that was mounted without being made", async () => {
    const app = express().use(anything(createBackendMonitorRouter));
    const next = { status: 0, message: "" };
    app.use((error: Error, _req: express.Request, res: express.Response, _next: express.NextFunction) => {
      next.message = error.message;
      res.end();
    });
    const request = { method: "GET", url: "/", headers: {} };
    await new Promise((end) => app(anything(request), anything({ end, setHeader: () => {} })));
    expect(next.message).toMatch(
      /^createBackendMonitorRouter takes one argument, .* app\.use\(createBackendMonitorRouter\(/,
    );
  });
});

describe("a gRPC target", () => {
  const names = new InMemoryModelRegistry();
  const isTaken = (target: string) => {
    try {
      names.register({ name: "m", address: target });
      return true;
    } catch {
      return false;
    }
  };

  it.each([
    "127.0.0.1:50051",
    "localhost:50051",
    "localhost",
    "[::1]:50051",
    "::1",
    "[::1]",
    "backend_1.internal:1",
    "host.docker.internal:65535",
    "unix:/run/llama.sock",
    "unix:run/llama.sock",
    "unix:/Users/me/Library/Application Support/llama.sock",
    "unix:///run/llama.sock",
    "dns:backend:50051",
    "dns:///backend:50051",
    "dns://1.1.1.1/backend:50051",
    "ipv4:127.0.0.1:50051,127.0.0.2:50051",
    "ipv6:[::1]:50051",
  ])("is %s", (target) => {
    expect(isTaken(target)).toBe(true);
    const { path } = parseUri(target) ?? expect.fail();
    if (!/^(unix|ipv4)/.test(target)) expect(splitHostPort(path)).not.toBeNull();
  });

  it.each([
    "",
    " ",
    "127.0.0.1:50051 ",
    " 127.0.0.1:50051",
    "dns:my backend:50051",
    "127.0.0.1:",
    "127.0.0.1:port",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:50051:50052",
    ":50051",
    "[::1]:",
    "[127.0.0.1]:50051",
    "::1:50051",
    "http://127.0.0.1:50051",
    "https://backend/",
    "//backend:50051",
    "127.0.0.1:50051/",
    "unix:",
    "unix://",
    "dns:",
    "dns:///",
    "ipv4:[::1]:50051",
    "ipv6:127.0.0.1:50051",
    "ipv4:127.0.0.1:50051,",
    "a\nb:1",
  ])("is not %j", (target) => {
    expect(isTaken(target)).toBe(false);
  });
});
