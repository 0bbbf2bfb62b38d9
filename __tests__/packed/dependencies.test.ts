import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, inject, it } from "vitest";
import { isLinux } from "../support/processes.js";

const root = new URL("../../", import.meta.url);
const { name, dependencies, peerDependencies } = JSON.parse(
  await readFile(new URL("package.json", root), "utf8"),
);
const readme = await readFile(new URL("README.md", root), "utf8");

/** What npm says that it installed, where there is no Express: the package and all that it brings. */
const installed: [path: string, { hasInstallScript?: boolean }][] = Object.entries(
  JSON.parse(
    await readFile(join(inject("projects")["process alone"], "node_modules/.package-lock.json"), "utf8"),
  ).packages,
);

/** README's section: rows with a package and its versions, and text where all else that is a name is a package's. */
const section = /^## Dependencies$(.*?)^## /ms.exec(readme)?.[1] ?? "";
const rows = [...section.matchAll(/^\| `(.+?)`.*?\| `(.+?)` +\|/gm)].map(([, row = "", versions = ""]) => [
  row,
  versions.replaceAll("\\|", "|"),
]);
const listed = [...section.matchAll(/`((?:@[\w-]+\/)?[a-z][\w.-]*)`/g)].map(([, listed]) => listed);

/** Each once, in order. */
const sorted = (names: unknown[]) => [...new Set(names)].sort();

describe("the dependencies", () => {
  it("are those of README's table, in these versions", () => {
    expect(Object.fromEntries(rows)).toEqual({ ...dependencies, ...peerDependencies });
  });

  it("bring what README says, and nothing else", () => {
    const brought = installed.map(([path]) => path.split("node_modules/").at(-1));
    expect(sorted([...listed, name])).toEqual(sorted([...brought, ...Object.keys(peerDependencies)]));
  });

  it("have one script that an install would run, which is not this package's", () => {
    const scripted = installed.filter(([, { hasInstallScript }]) => hasInstallScript);
    expect(scripted.map(([path]) => path)).toEqual(["node_modules/protobufjs"]);
  });

  it.skipIf(!isLinux)("are not loaded but for those that README does not say it of", async () => {
    const cwd = inject("projects")["express 5"];
    const { stdout } = await promisify(execFile)(process.execPath, ["loaded.cjs"], { cwd });
    expect(stdout.trim().split(" ")).toEqual([
      "@grpc/grpc-js",
      "@js-sdsl/ordered-map",
      "ajv",
      name,
      "fast-deep-equal",
      "fast-uri",
      "google-protobuf",
      "json-schema-traverse",
    ]);
  });
});
