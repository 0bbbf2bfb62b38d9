// Ignores SIGTERM, and starts a child that does so too where it is told "parent". A "mortal" parent dies of SIGTERM.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const role = process.argv[2];
if (role !== "mortal") process.on("SIGTERM", () => {});
const pids = [process.pid];
if (role === "parent" || role === "mortal") {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  pids.push((await once(createInterface({ input: child.stdout }), "line"))[0]);
}
console.log(pids.join(" "));
setInterval(() => {}, 1000);
