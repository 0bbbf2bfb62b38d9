import { execFileSync } from "node:child_process";
import { median } from "../median.js";

/** Milliseconds, and the median of their ratios, pair by pair. */
export interface Imports {
  alone: number;
  package: number;
  ratio: number;
}

/** How long it takes to import this package, beside `express` and `@grpc/grpc-js` alone; each time in a Node of its own. */
export function measureImports(pairs: number): Imports {
  const alone: number[] = [];
  const own: number[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    alone.push(importTime("express", "@grpc/grpc-js"));
    own.push(importTime("express-backend-monitor"));
  }
  return {
    alone: median(alone),
    package: median(own),
    ratio: median(own.map((ms, pair) => ms / (alone[pair] ?? Number.NaN))),
  };
}

function importTime(...names: string[]): number {
  const imports = names.map((name) => `await import("${name}");`).join("");
  const code = `const at = performance.now(); ${imports} console.log(performance.now() - at);`;
  const cwd = new URL(".", import.meta.url);
  return Number(execFileSync(process.execPath, ["--input-type=module", "-e", code], { cwd }));
}
