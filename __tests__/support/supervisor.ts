import { onTestFinished } from "vitest";
import {
  type BackendExit,
  type BackendFailure,
  BackendSupervisor,
  type StartOptions,
} from "../../lib/index.js";
import { bearersOf, markedEnvironment, script } from "./processes.js";

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
