// A family: this process, two children, and a grandchild of each. Prints the ids of all five, itself first.
// Each holds 20 MiB that is written to. Arguments are handed on: the children see them too.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const generation = Number(process.env.GENERATION ?? 0);
const held = Buffer.alloc(20 * 1024 * 1024, "held");

async function bear() {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, GENERATION: `${generation + 1}` },
  });
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  return line;
}

const children = [2, 1, 0][generation];
const lines = await Promise.all(Array.from({ length: children }, bear));
console.log([process.pid, ...lines].join(" "));
setInterval(() => held.length, 1000);
