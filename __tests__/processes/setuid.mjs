// Is user 65534, and has a child that is root still. Prints the ids of both, itself first.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const code = "console.log(process.pid); setInterval(() => {}, 1000)";
const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
await once(createInterface({ input: child.stdout }), "line");
process.setgid(65534);
process.setuid(65534);
console.log(process.pid, child.pid);
setInterval(() => {}, 1000);
