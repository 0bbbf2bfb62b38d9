import { spawn } from "node:child_process";
import { once } from "node:events";
import { sampleProcess, terminateProcessTree } from "express-backend-monitor/process";

const backend = spawn(process.execPath, ["-e", "console.log(); setInterval(() => {}, 1000)"]);
process.on("exit", () => backend.kill("SIGKILL"));
await once(backend.stdout, "data");
const { rss } = await sampleProcess(backend.pid);
await terminateProcessTree(backend.pid);
console.log(rss > 0, backend.signalCode);
