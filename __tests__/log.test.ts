import { Console } from "node:console";
import { type PassThrough, Writable } from "node:stream";
import express from "express";
import pino from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import winston from "winston";
import {
  BackendMonitor,
  BackendSupervisor,
  createBackendMonitorRouter,
  InMemoryModelRegistry,
  type Logger,
  type ModelRegistry,
} from "../lib/index.js";
import { type BackendCalls, fails, frees, hasMemory, isOk, replies, serveBackend } from "./support/grpc.js";
import { json, serveHttp } from "./support/http.js";
import { isLinux, start, startScript } from "./support/processes.js";
import { createSupervisor, nasty } from "./support/supervisor.js";

interface Line {
  level: "info" | "error";
  message: string;
}

/** A logger that keeps what it is told. */
function keeping() {
  const lines: Line[] = [];
  const logger: Logger = {
    info: (message) => lines.push({ level: "info", message }),
    error: (message) => lines.push({ level: "error", message }),
  };
  return { logger, lines, messages: () => lines.map(({ message }) => message) };
}

/** What is written to a stream, in lines. */
function linesOf(): { stream: Writable; lines: () => string[] } {
  let text = "";
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk;
      done();
    },
  });
  return { stream, lines: () => text.split("\n").filter(Boolean) };
}

/** A backend process that is looked after by its pid, and calls that are answered in its name. */
async function monitored(logger: Logger | undefined, calls: BackendCalls, options: object = {}) {
  const { address, stop } = await serveBackend(calls);
  const { pid } = await start(process.execPath, ["-e", "console.log(); setInterval(() => {}, 1000)"]);
  const registry = new InMemoryModelRegistry();
  registry.register({ name: "m", address, pid });
  const monitor = new BackendMonitor({ registry, logger, ...options });
  onTestFinished(() => monitor.close());
  return { monitor, registry, stop };
}
const unimplemented = fails(12, "no such method");

describe("a logger that is", () => {
  /** Each gives the level and the message of the lines that it has written. */
  const loggers: Record<string, () => { logger: Logger; read: () => Line[] }> = {
    console: () => {
      const out = linesOf();
      const error = linesOf();
      const logger = new Console({ stdout: out.stream, stderr: error.stream });
      const read = () => [
        ...out.lines().map((message): Line => ({ level: "info", message })),
        // With a stack, it has several.
        { level: "error" as const, message: error.lines().join("\n") },
      ];
      return { logger, read };
    },
    pino: () => {
      const { stream, lines } = linesOf();
      const levels: Record<number, Line["level"]> = { 30: "info", 50: "error" };
      const read = () =>
        lines()
          .map((line) => JSON.parse(line))
          .map(({ level, msg }): Line => ({ level: levels[level] ?? "error", message: msg }));
      return { logger: pino(stream), read };
    },
    winston: () => {
      const { stream, lines } = linesOf();
      const logger = winston.createLogger({
        format: winston.format.json(),
        transports: [new winston.transports.Stream({ stream: stream as PassThrough })],
      });
      return { logger, read: () => lines().map((line) => JSON.parse(line)) };
    },
  };

  it.each(Object.keys(loggers))("%s is taken as it is", async (kind) => {
    const { logger, read } = loggers[kind]?.() ?? expect.fail();
    const { address } = await serveBackend({ Status: hasMemory, Free: frees });
    const models = new Map([["m", { name: "m", address }]]);
    const registry: ModelRegistry = {
      get: (name) => {
        if (name === "broken") throw new Error("the database is down");
        return models.get(name);
      },
      list: () => [],
      shutdown: (name) => void models.delete(name),
    };
    const send = await serveHttp(express().use(createBackendMonitorRouter({ registry, logger })));
    await send("/backend/shutdown", json({ model: "m" }));
    await send("/backend/monitor?model=broken");
    // Told once, though the monitor and the router both see it.
    await expect.poll(read).toEqual([
      {
        level: "info",
        message: expect.stringMatching(
          /^express-backend-monitor: shutdown of model "m": stopped after \d+ ms$/,
        ),
      },
      {
        level: "error",
        message: expect.stringMatching(/^express-backend-monitor: InternalError: .*the database is down/s),
      },
    ]);
  });

  it("told once of a client of a host's own that fails in a way of its own", async () => {
    const { logger, lines } = keeping();
    const registry = {
      get: () => ({ name: "m", address: "127.0.0.1:1" }),
      list: () => [],
      shutdown: () => {},
    };
    const createClient = () => ({
      status: () => Promise.reject(Object.create(null)),
      health: async () => true,
      free: async () => {},
      close: () => {},
    });
    const send = await serveHttp(
      express().use(createBackendMonitorRouter({ registry, createClient, logger })),
    );
    expect((await send("/backend/monitor?model=m")).status).toBe(500);
    expect(lines).toHaveLength(1);
  });

  it("left out is silence", async () => {
    const spied = (["log", "info", "warn", "error", "debug"] as const).map((method) => {
      const original = console[method];
      const said: unknown[] = [];
      console[method] = (...args) => void said.push(args);
      onTestFinished(() => {
        console[method] = original;
      });
      return said;
    });
    const { monitor } = await monitored(undefined, { Status: unimplemented });
    await monitor.status("m").catch(() => {});
    await monitor.shutdown("m").catch(() => {});
    await monitor.shutdown("m").catch(() => {});
    expect(spied.flat()).toEqual([]);
  });
});

describe.skipIf(!isLinux)("a shutdown is told of", () => {
  it("once, with its model, its duration, its outcome, and how many processes were ended", async () => {
    const { logger, messages, lines } = keeping();
    const { monitor, registry } = await monitored(logger, { Status: hasMemory, Free: frees });
    const { pid } = await startScript("family.mjs");
    registry.register({ name: "m", address: "127.0.0.1:1", pid });
    await Promise.all([monitor.shutdown("m"), monitor.shutdown("m"), monitor.shutdown("m", { force: true })]);
    expect(messages()).toEqual([
      expect.stringMatching(
        /^express-backend-monitor: shutdown of model "m": stopped after \d+ ms, 5 processes ended$/,
      ),
    ]);
    expect(lines[0]?.level).toBe("info");
  });

  it("also where it cancels a start, with the processes that this ended", async () => {
    const { logger, messages } = keeping();
    const { supervisor } = createSupervisor();
    const { start: options, processes } = nasty("never");
    const started = expect(supervisor.start(options)).rejects.toThrow("was cancelled");
    await expect.poll(processes).toHaveLength(1);
    const monitor = new BackendMonitor({ registry: supervisor, logger });
    await expect(monitor.shutdown("m")).rejects.toThrow("is not loaded");
    await expect(monitor.shutdown("m")).rejects.toThrow("is not loaded");
    await started;
    expect(messages()).toEqual([
      expect.stringMatching(/: model_not_loaded after \d+ ms, 1 process ended: model "m" is not loaded$/),
      expect.stringMatching(/: model_not_loaded after \d+ ms: model "m" is not loaded$/),
    ]);
  });

  it("without a number where no process of it can be seen, or a registry says nonsense", async () => {
    const { logger, messages } = keeping();
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "far", address: "127.0.0.1:1", stop: () => {} });
    await new BackendMonitor({ registry, logger }).shutdown("far");
    for (const nonsense of [Number.NaN, -1, "5"]) {
      let isListed = true;
      const get = (name: string) => (isListed ? { name, address: "127.0.0.1:1" } : undefined);
      const shutdown = () => {
        isListed = false;
        return nonsense as number;
      };
      await new BackendMonitor({ registry: { get, list: () => [], shutdown }, logger }).shutdown("odd");
    }
    expect(messages()).toHaveLength(4);
    for (const message of messages()) expect(message).toMatch(/: stopped after \d+ ms$/);
  });

  it("with the processes that a supervisor ended", async () => {
    const { logger, messages } = keeping();
    const supervisor = new BackendSupervisor();
    onTestFinished(() => supervisor.shutdownAll());
    const args = ["-c", '"$0" "$@" & wait', process.execPath, "build/examples/backends/chat.js"];
    await supervisor.start({ name: "chat", command: "sh", args });
    const monitor = new BackendMonitor({ registry: supervisor, logger });
    onTestFinished(() => monitor.close());
    await monitor.shutdown("chat");
    expect(messages()).toEqual([
      expect.stringMatching(/: shutdown of model "chat": stopped after \d+ ms, 2 processes ended$/),
    ]);
  });

  it("with those that a host's own way of stopping ended", async () => {
    const { logger, messages } = keeping();
    const { pid } = await startScript("family.mjs");
    const registry = new InMemoryModelRegistry();
    const stop = () => process.kill(pid, "SIGKILL");
    registry.register({ name: "m", address: "127.0.0.1:1", pid, stop });
    await new BackendMonitor({ registry, logger }).shutdown("m");
    expect(messages()).toEqual([expect.stringMatching(/, 5 processes ended$/)]);
  });

  it("where it comes to nothing: as an error where the server is to blame", async () => {
    const { logger, lines } = keeping();
    const { monitor, registry } = await monitored(
      logger,
      { Status: replies({ state: 1 }) },
      { drainTimeoutMs: 0 },
    );
    registry.register({ name: "nowhere", address: "127.0.0.1:1" });
    for (const name of ["m", "nowhere", "unheard-of"]) await monitor.shutdown(name).catch(() => {});
    const outcome = (name: string, rest: string) =>
      expect.stringMatching(
        new RegExp(`^express-backend-monitor: shutdown of model "${name}": ${rest}`, "s"),
      );
    expect(lines).toEqual([
      { level: "info", message: outcome("m", "model_busy after \\d+ ms: .*still busy after 0 ms") },
      {
        level: "error",
        message: outcome("nowhere", "backend_error after \\d+ ms: BackendError: .*\\n +at .*\\.ts"),
      },
      {
        level: "info",
        message: outcome("unheard-of", "model_not_loaded after \\d+ ms: .* is not loaded$"),
      },
    ]);
  });
});

describe.skipIf(!isLinux)("a fallback is told of", () => {
  it("once for each reason, and not at each poll", async () => {
    const { logger, messages } = keeping();
    const { monitor, stop } = await monitored(logger, { Status: unimplemented, Health: isOk });
    for (let polls = 0; polls < 3; polls++) await monitor.status("m");
    const first =
      'model "m" is monitored by the operating system, as its Status call failed: UNIMPLEMENTED: ';
    expect(messages()).toEqual([`express-backend-monitor: ${first}no such method`]);

    stop();
    for (let polls = 0; polls < 3; polls++) await monitor.status("m");
    expect(messages().slice(1)).toEqual([expect.stringMatching(/Status call failed: UNAVAILABLE: /)]);
  });

  it("where the backend reports no memory", async () => {
    const { logger, messages } = keeping();
    const { monitor } = await monitored(logger, { Status: replies({ state: 2 }) });
    for (let polls = 0; polls < 2; polls++) await monitor.status("m");
    expect(messages()).toEqual([
      'express-backend-monitor: model "m" is monitored by the operating system, as its Status reports no memory',
    ]);
  });

  it("again for another backend of the same name", async () => {
    const { logger, messages } = keeping();
    const { monitor, registry } = await monitored(logger, { Status: unimplemented, Health: isOk });
    await monitor.status("m");
    const { address } = await serveBackend({ Status: unimplemented, Health: isOk });
    registry.register({ name: "m", address, pid: process.pid });
    for (let polls = 0; polls < 2; polls++) await monitor.status("m");
    expect(messages()).toHaveLength(2);
  });

  it("not where the backend reports itself, and not where the system can't help either", async () => {
    const { logger, lines } = keeping();
    const { monitor, registry } = await monitored(logger, { Status: hasMemory });
    registry.register({ name: "nowhere", address: "127.0.0.1:1" });
    await monitor.status("m");
    await Promise.all(["nowhere", "nowhere"].map((name) => expect(monitor.status(name)).rejects.toThrow()));
    // Both shared one answer.
    expect(lines).toEqual([
      { level: "error", message: expect.stringMatching(/BackendError: model "nowhere"/) },
    ]);
  });

  it("not where there is no process either", async () => {
    const { logger, lines } = keeping();
    const { address } = await serveBackend({ Status: replies({ state: 2 }) });
    const registry = new InMemoryModelRegistry();
    registry.register({ name: "m", address });
    const monitor = new BackendMonitor({ registry, logger });
    onTestFinished(() => monitor.close());
    expect(await monitor.status("m")).toMatchObject({ state: 2, memory: { total: null } });
    expect(lines).toEqual([]);
  });

  it("in one line, whatever the backend says", async () => {
    const { logger, messages } = keeping();
    const { monitor } = await monitored(logger, {
      Status: fails(13, "no\u001b[31m memory\nFAKE LINE \u202e at /var/lib/secret"),
    });
    await monitor.status("m");
    expect(messages()).toHaveLength(1);
    expect(messages()[0]).not.toMatch(/[\p{Cc}\p{Cf}]|FAKE|secret/u);
  });
});
