// Uses CPU without an end, though no more than half of what there is as others are to have their turn, in as many processes as the first argument says (default 1). Prints their ids, itself first.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const others = Number(process.argv[2] ?? 1) - 1;
const lines = await Promise.all(
  Array.from({ length: others }, async () => {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    return (await once(createInterface({ input: child.stdout }), "line"))[0];
  }),
);
console.log([process.pid, ...lines].join(" "));
setImmediate(function burn() {
  const end = performance.now() + 20;
  while (performance.now() < end);
  setTimeout(burn, 20);
});
