// Is user 65534, and has a child that is root still. Prints the ids of both, itself first. With an argument, the child ends a
// while after its parent.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const ends = process.argv.length > 2;
const end = "process.stdin.on('end', () => setTimeout(() => process.exit(), 300)).resume();";
const code = `console.log(process.pid); setInterval(() => {}, 1000); ${ends ? end : ""}`;
const child = spawn(process.execPath, ["-e", code], { stdio: ["pipe", "pipe", "inherit"] });
await once(createInterface({ input: child.stdout }), "line");
process.setgid(65534);
process.setuid(65534);
console.log(process.pid, child.pid);
setInterval(() => {}, 1000);
