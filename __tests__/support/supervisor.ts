import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:http2";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import {
  type BackendClient,
  type BackendClientFactory,
  type BackendExit,
  type BackendFailure,
  BackendSupervisor,
  type StartOptions,
} from "../../lib/index.js";
import { bearersOf, isRunning, markedEnvironment, script } from "./processes.js";

/** A supervisor until the end of the test, and what it reported. */
export function createSupervisor() {
  const supervisor = new BackendSupervisor();
  const exits: BackendExit[] = [];
  const failures: BackendFailure[] = [];
  supervisor.on("exit", (exit) => exits.push(exit));
  supervisor.on("failed", (failure) => failures.push(failure));
  onTestFinished(() => supervisor.shutdownAll({ timeoutMs: 0 }));
  return { supervisor, exits, failures };
}

/** How to start the nasty backend of __tests__/processes as model "m", and what the kernel has of it. */
export function nasty(kind = "", options: Partial<StartOptions> = {}) {
  const { mark, env } = markedEnvironment();
  const start: StartOptions = {
    name: "m",
    command: process.execPath,
    args: [script("backend.mjs"), "--kind", kind],
    ...options,
    env: { ...env, ...options.env },
  };
  return { start, processes: () => bearersOf(mark) };
}

/** Has the backend of model "m", which is of kind "printing", print these bytes in one write. */
export async function print(supervisor: BackendSupervisor, bytes: Buffer | string): Promise<void> {
  const session = connect(`http://${supervisor.get("m")?.address}`);
  const request = session.request({ ":method": "POST", ":path": "/print" });
  request.end(bytes);
  await once(request.resume(), "end");
  session.close();
}

/** A client of a host's own, which is asked for nothing but this. */
export function clientWith(asked: Partial<BackendClient>): BackendClientFactory {
  return () => ({
    status: () => Promise.reject(new Error("no")),
    health: async () => true,
    free: async () => {},
    close: () => {},
    ...asked,
  });
}

/** Listens at a port until the end of the test. */
export function listening(port: number) {
  const server = createServer().listen(port, "127.0.0.1");
  onTestFinished(() => void server.close());
  return once(server, "listening");
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "supervisor-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** The warnings of this process, from now on. */
export function warningsOfProcess(): Error[] {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on("warning", onWarning);
  onTestFinished(() => void process.off("warning", onWarning));
  return warnings;
}

/** The id of what a backend of kind "escaping" leaves behind. */
export async function escapedFrom(supervisor: BackendSupervisor, name: string): Promise<number> {
  await expect.poll(() => supervisor.logs(name)).toMatch(/^\d+\n$/);
  const pid = Number(supervisor.logs(name));
  onTestFinished(() => {
    if (isRunning(pid)) process.kill(pid, "SIGKILL");
  });
  return pid;
}
