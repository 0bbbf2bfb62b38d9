/**
 * How fast the package is, beside what else one could do; README's claims are from here. Prints a report, and writes the same
 * as JSON where `--json` names a file. It takes about eleven minutes, and wants a machine that does nothing else.
 *
 *   npm run bench -- --rounds 5 --seconds 2 --json figures.json
 */
import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import type { Backends } from "./speed/backends.js";
import type { Blocks } from "./speed/event-loop.js";
import { type Imports, measureImports } from "./speed/imports.js";
import type { Models } from "./speed/models.js";
import { measureTable, type Result } from "./speed/table.js";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    json: { type: "string" },
  },
});
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
if (!Number.isInteger(rounds) || rounds < 1 || !(seconds > 0)) {
  console.error(
    `--rounds takes a whole number and --seconds a number, got ${values.rounds} and ${values.seconds}`,
  );
  process.exit(2);
}

const MODELS = 1_000;
const MODELS_SECONDS = 120;
const IMPORTS = 15;

const script = (name: string) => fileURLToPath(new URL(`speed/${name}`, import.meta.url));

console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}`);

const imports = measureImports(IMPORTS);
printImports(imports);

const blocks = await run<Blocks>("event-loop.js", []);
printBlocks(blocks);

const table = await measureTable(rounds, seconds);
printTable(table);

const models = {
  grpc: await measureModels("reporting"),
  fallback: await measureModels("healthOnly"),
};
printModels(models.grpc, "gRPC");
printModels(models.fallback, "fallback");

if (values.json)
  writeFileSync(values.json, `${JSON.stringify({ table, imports, blocks, models }, undefined, 2)}\n`);

async function measureModels(kind: keyof Backends): Promise<Models> {
  const backends = fork(script("backends.js"), [`${MODELS}`, "1"]);
  const [said] = (await once(backends, "message")) as [Backends];
  const addresses = kind === "reporting" ? said.reporting : Array<string>(MODELS).fill(said.healthOnly);
  try {
    return await run<Models>("models.js", [`${MODELS_SECONDS}`, `${backends.pid}`, ...addresses]);
  } finally {
    backends.disconnect();
  }
}

/** Runs a script that prints a line of JSON. */
async function run<Printed>(name: string, args: string[]): Promise<Printed> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", script(name), ...args]);
  return JSON.parse(stdout);
}

function printImports({ alone, package: own, ratio }: Imports): void {
  console.log(`
import of express and @grpc/grpc-js: ${alone.toFixed(0)} ms; of this package: ${own.toFixed(0)} ms, ${ratio.toFixed(2)} ×`);
}

function printBlocks({ processes, typical, longest }: Blocks): void {
  console.log(`
monitoring a tree of ${processes} processes, the longest turn of the event loop: ${typical.toFixed(2)} ms typically, \
${longest.toFixed(2)} ms at most`);
}

function printTable(results: readonly Result[]): void {
  const columns: [name: string, cell: (result: Result) => string][] = [
    ["", ({ row }) => row],
    ["connections", ({ connections }) => `${connections}`],
    ["req/s", ({ rps }) => rps.toFixed(0)],
    ["p50 ms", ({ p50 }) => p50.toFixed(2)],
    ["p99 ms", ({ p99 }) => p99.toFixed(2)],
    ["CPU s / 1,000", ({ cpu }) => cpu.toFixed(3)],
    ["req/s ÷ bare", ({ toBare }) => toBare.toFixed(2)],
    ["req/s ÷ by hand", ({ toByHand }) => toByHand.toFixed(2)],
    ["p50 ÷ by hand", ({ p50ToByHand }) => p50ToByHand.toFixed(2)],
    ["CPU ÷ bare", ({ cpuToBare }) => cpuToBare.toFixed(2)],
    ["CPU ÷ by hand", ({ cpuToByHand }) => cpuToByHand.toFixed(2)],
  ];
  const rows = [
    columns.map(([name]) => name),
    ...results.map((result) => columns.map(([, cell]) => cell(result))),
  ];
  const widths = columns.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  "),
  );
  console.log(`
${rounds} rounds of ${seconds} s each; medians, and ratios within a round
${lines.join("\n")}`);
}

function printModels({ models, heap, rss, cpu, failed }: Models, kind: string): void {
  const kib = (bytes: readonly number[]) => bytes.map((each) => (each / 1024 / models).toFixed(1)).join(" ");
  console.log(`
${models} models, ${kind}, each monitored once a second for ${MODELS_SECONDS} s: ${cpu.toFixed(0)} % of a core, ${failed} failed
  KiB a model after the first pass, and after each tenth of the time:
    heap ${kib(heap)}
    RSS  ${kib(rss)}`);
}
