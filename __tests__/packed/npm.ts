import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Runs npm; resolves with what it printed. No package's install script is run, as in a shop that is careful. */
export async function npm(folder: string, ...args: string[]): Promise<string> {
  const quiet = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"];
  // On Windows npm is a batch file, which only a shell can start.
  const { stdout } = await run("npm", [...quiet, ...args], {
    cwd: folder,
    shell: process.platform === "win32",
    maxBuffer: 16 * 1024 ** 2,
  });
  return stdout;
}
