import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, inject, it } from "vitest";
import { complaints } from "./complaints.js";
import type { ProjectName } from "./setup.js";

const tsc = fileURLToPath(import.meta.resolve("typescript/lib/tsc.js"));

/** The declaration files of all packages are checked, too. */
function compile(project: ProjectName, ...options: string[]): Promise<string> {
  return complaints(tsc, ["--skipLibCheck", "false", ...options], inject("projects")[project]);
}

describe("a host in TypeScript", { timeout: 60_000 }, () => {
  it.each([
    ["nodenext", "express 5", "true"],
    ["nodenext", "express 4", "false"],
    ["bundler", "express 5", "false"],
    ["bundler", "express 4", "true"],
    ["commonjs", "express 5", "true"],
  ] as const)(
    "compiles under %s with the types of %s, exactOptionalPropertyTypes %s",
    async (resolution, project, exact) => {
      expect(existsSync(join(inject("projects")[project], "node_modules/prom-client"))).toBe(false);
      expect(
        await compile(project, "-p", `tsconfig.${resolution}.json`, "--exactOptionalPropertyTypes", exact),
      ).toBe("");
    },
  );

  it.each(["nodenext", "commonjs"])(
    "compiles under %s with metrics, where there is prom-client",
    async (resolution) => {
      expect(await compile("prom-client 15.0", "-p", `tsconfig.${resolution}.json`)).toBe("");
    },
  );

  it("compiles with express-backend-monitor/process where there is no Express", async () => {
    expect(existsSync(join(inject("projects")["process alone"], "node_modules/@types/express"))).toBe(false);
    expect(await compile("process alone")).toBe("");
  });
});
