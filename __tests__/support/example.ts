import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { kernelChildren } from "./processes.js";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** The example as `npm start` runs it, on a free port. */
export async function startExample() {
  const server = spawn(process.execPath, ["build/examples/server.js"], {
    cwd: root,
    env: { ...process.env, PORT: "0" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: string[] = [];
  for await (const line of createInterface({ input: server.stdout })) {
    lines.push(line);
    if (line.startsWith("Ctrl-C")) break;
  }
  // What backends print later is not of interest, but the pipe must not fill up.
  server.stdout.resume();
  const url = lines.map((line) => /http:\/\/[\d.:]+\d/.exec(line)?.[0]).find(Boolean) ?? "";
  return { server, url, lines, curls: lines.filter((line) => line.trim().startsWith("curl ")) };
}

/** A process and all that descends from it, by the kernel. */
export function family(pid: number): number[] {
  return [pid, ...kernelChildren(pid).flatMap(family)];
}
