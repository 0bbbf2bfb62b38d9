import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { readmeBlocks } from "./support/readme.js";

/** With the slashes that the compiler has on each system. */
const root = fileURLToPath(new URL("..", import.meta.url)).replaceAll("\\", "/");

/** Compilers have much to do, and a machine may be busy. */
const timeout = 120_000;

describe("the doc comments", () => {
  it("are there for every public name, and make documents without a warning", { timeout }, async () => {
    const typedoc = [`${root}node_modules/typedoc/bin/typedoc`, "--emit", "none"];
    // The build has checked the types.
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [...typedoc, "--skipErrorChecking"],
      { cwd: root },
    );
    expect(stdout + stderr).toBe("");
  });

  it("have examples that compile, and so has README", { timeout }, () => {
    const examples = readdirSync(`${root}lib`, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .flatMap((file) => examplesIn(readFileSync(`${root}lib/${file}`, "utf8")));
    expect(examples.length).toBeGreaterThanOrEqual(10);
    const inReadme = readmeBlocks().filter(({ id }) => id.endsWith(": ts"));
    expect(inReadme.length).toBeGreaterThanOrEqual(2);
    expect(complaintsOf([moduleOf(examples), ...inReadme.map(({ code }) => code)])).toEqual([]);
  });
});

function examplesIn(source: string): string[] {
  const blocks = source.matchAll(/^ *\* ```ts\n(.*?)^ *\* ```$/gms);
  return Array.from(blocks, ([, lines = ""]) => lines.replaceAll(/^ *\* ?/gm, ""));
}

/** What an example need not say, as its reader knows it. */
const CONTEXT = `
  import type { Express } from "express";
  import {
    BackendCallError, type BackendClient, BackendMonitor, BackendState, BackendSupervisor, basicAuth,
    bearerAuth, createBackendMonitorRouter, grpcBackendClient, InMemoryModelRegistry, type ModelRegistry,
    openApiDocument,
  } from "express-backend-monitor";
  import { createDashboardRouter } from "express-backend-monitor/dashboard";
  import { processStartTime, sampleProcess, terminateProcessTree } from "express-backend-monitor/process";
  declare const app: Express;
  declare const backend: import("node:child_process").ChildProcess;
  declare const registry: ModelRegistry;
`;

/** The examples of doc comments as one module, each a scope of its own. */
function moduleOf(examples: readonly string[]): string {
  const isImport = /^import .*$/gm;
  return [
    ...examples.flatMap((example) => example.match(isImport) ?? []),
    CONTEXT,
    ...examples.map((example) => `async () => {\n${example.replaceAll(isImport, "")}};`),
  ].join("\n");
}

/** What the compiler has to say of these modules: the line, and what is wrong with it. */
function complaintsOf(modules: readonly string[]): string[] {
  const texts = new Map(modules.map((text, index) => [`${root}__tests__/documented-${index}.ts`, text]));
  const compilerOptions = {
    noEmit: true,
    rootDir: "..",
    noUnusedLocals: false,
    experimentalDecorators: true,
  };
  const { options } = ts.parseJsonConfigFileContent(
    { extends: "../tsconfig.json", compilerOptions },
    ts.sys,
    `${root}__tests__`,
  );
  const host = ts.createCompilerHost(options);
  const program = ts.createProgram([...texts.keys()], options, {
    ...host,
    fileExists: (file) => texts.has(file) || host.fileExists(file),
    readFile: (file) => texts.get(file) ?? host.readFile(file),
    getSourceFile: (file, ...rest) => {
      const text = texts.get(file);
      return text === undefined
        ? host.getSourceFile(file, ...rest)
        : ts.createSourceFile(file, text, ts.ScriptTarget.Latest);
    },
  });
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line : 0;
    const said = ts.flattenDiagnosticMessageText(messageText, "\n");
    return `${file?.text.split("\n")[line]?.trim()} // ${said}`;
  });
}
