import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { isLinux } from "../support/processes.js";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

describe.skipIf(!isLinux)("npm run stress", () => {
  it("finds nothing left after 30 rounds, and the bystander untouched", { timeout: 110_000 }, async () => {
    // Where it fails, its report is what is to be read.
    const { stdout } = await run(process.execPath, ["build/bench/stress.js", "--rounds", "30"], {
      cwd: root,
    }).catch((error) => error);
    expect(stdout).toMatch(/^30 rounds with seed \d+, 8 at a time/m);
    expect(stdout).toMatch(/\nclean\n$/);
  });
});
