import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

/** What has to be among the answers, for a run to have gone everywhere. */
const ANSWERS = [
  "requests: 200 HEAD",
  "requests: 200 reported",
  "requests: 200 fallback",
  "requests: 200 stopped",
  "requests: 400 invalid_request_error",
  "requests: 401 invalid_request_error",
  "requests: 404 host",
  "requests: 405 invalid_request_error",
  "requests: 413 invalid_request_error",
  "requests: 415 invalid_request_error",
  "requests: 500 backend_error",
  "requests: 500 internal_error",
  "requests: 500 model_busy",
  "requests: 500 model_not_loaded",
  "messages: 200 reported",
  "messages: 200 fallback",
  "messages: 500 backend_error",
  "connections: 500 backend_error",
];

describe("npm run fuzz", () => {
  it("gets what the contract wants for 2,000 cases, and leaves nothing", { timeout: 110_000 }, async () => {
    // Where it fails, its report is what is to be read.
    const { stdout, stderr } = await run(process.execPath, ["build/bench/fuzz.js", "--cases", "2000"], {
      cwd: root,
    }).catch((error) => error);
    expect(stdout).toMatch(/^2000 cases with seed \d+ in /);
    expect(stdout).toMatch(/\nclean\n$/);
    for (const answer of ANSWERS) expect(stdout).toContain(answer);
    expect(stderr).toBe("");
  });

  it.each([
    [["--cases", "many"], /^--cases and --seed take whole numbers, got many and \d+\n$/],
    [["--path", "nowhere:1"], /^--path takes what a failure printed, got nowhere:1\n$/],
  ])("refuses %j", async (options, said) => {
    const refused = run(process.execPath, ["build/bench/fuzz.js", ...options], { cwd: root });
    await expect(refused).rejects.toMatchObject({ code: 2, stderr: expect.stringMatching(said) });
  });
});
