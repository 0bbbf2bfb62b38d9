import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { describe, expect, it } from "vitest";

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

  it("have examples that compile", { timeout }, () => {
    const examples = readdirSync(`${root}lib`, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .flatMap((file) => examplesIn(readFileSync(`${root}lib/${file}`, "utf8")));
    expect(examples.length).toBeGreaterThanOrEqual(10);
    expect(complaintsOf(examples)).toEqual([]);
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
    BackendCallError, type BackendClient, BackendMonitor, BackendState, BackendSupervisor, bearerAuth,
    createBackendMonitorRouter, grpcBackendClient, InMemoryModelRegistry, type ModelRegistry,
    openApiDocument,
  } from "express-backend-monitor";
  import { processStartTime, sampleProcess, terminateProcessTree } from "express-backend-monitor/process";
  declare const app: Express;
  declare const backend: import("node:child_process").ChildProcess;
  declare const registry: ModelRegistry;
`;

/** What the compiler has to say of the examples, each a scope of its own: the line, and what is wrong with it. */
function complaintsOf(examples: readonly string[]): string[] {
  const isImport = /^import .*$/gm;
  const text = [
    ...examples.flatMap((example) => example.match(isImport) ?? []),
    CONTEXT,
    ...examples.map((example) => `async () => {\n${example.replaceAll(isImport, "")}};`),
  ].join("\n");

  const name = `${root}__tests__/doc-examples.ts`;
  const { options } = ts.parseJsonConfigFileContent(
    { extends: "../tsconfig.json", compilerOptions: { noEmit: true, rootDir: "..", noUnusedLocals: false } },
    ts.sys,
    `${root}__tests__`,
  );
  const host = ts.createCompilerHost(options);
  const program = ts.createProgram([name], options, {
    ...host,
    fileExists: (file) => file === name || host.fileExists(file),
    readFile: (file) => (file === name ? text : host.readFile(file)),
    getSourceFile: (file, ...rest) =>
      file === name
        ? ts.createSourceFile(name, text, ts.ScriptTarget.Latest)
        : host.getSourceFile(file, ...rest),
  });
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line : 0;
    const said = ts.flattenDiagnosticMessageText(messageText, "\n");
    return `${file?.text.split("\n")[line]?.trim()} // ${said}`;
  });
}
