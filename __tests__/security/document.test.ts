import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const run = promisify(execFile);
const root = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");

it("SECURITY.md names tests that there are", () => {
  const named = [...read("SECURITY.md").matchAll(/`([\w/-]+\.test\.ts)`/g)].map(([, path]) => `${path}`);
  expect(named.length).toBeGreaterThan(30);
  for (const path of named)
    expect([path, existsSync(new URL(`__tests__/${path}`, root))]).toEqual([path, true]);
});

interface Locked {
  version: string;
  dev?: boolean;
  hasInstallScript?: boolean;
}

it("of what users install, protobufjs alone has an install script", () => {
  const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, Locked> };
  const installed = Object.entries(packages).filter(([path, { dev }]) => path !== "" && !dev);
  expect(installed.length).toBeGreaterThan(5);
  const withScript = installed.filter(([, { hasInstallScript }]) => hasInstallScript);
  expect(withScript.map(([path]) => path)).toEqual(["node_modules/protobufjs"]);
  // "prepare" is run for those who install it from git, as that has nothing that is built.
  const { scripts } = JSON.parse(read("package.json"));
  expect(Object.keys(scripts).filter((name) => /^(pre|post)?install$/.test(name))).toEqual([]);
});

it("and that one does no more than to warn", async () => {
  const { scripts } = JSON.parse(read("node_modules/protobufjs/package.json"));
  expect(scripts.postinstall).toBe("node scripts/postinstall");
  // What it is not permitted to do, it would fail in: to write a file, to start a program.
  const [permission = ""] = ["--permission", "--experimental-permission"].filter((flag) =>
    process.allowedNodeEnvironmentFlags.has(flag),
  );
  const { stdout } = await run(
    process.execPath,
    [permission, "--allow-fs-read=*", "--no-warnings", "scripts/postinstall.js"],
    { cwd: fileURLToPath(new URL("node_modules/protobufjs", root)) },
  );
  expect(stdout).toBe("");
});
