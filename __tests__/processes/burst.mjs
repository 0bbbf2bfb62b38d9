// On each SIGUSR2: starts a child that uses about half a second of CPU and ends, and says so when it has.
import { spawnSync } from "node:child_process";

const burst =
  "const end = process.cpuUsage().user + 5e5; while (process.cpuUsage().user < end) for (let turns = 0; turns < 1e5; turns++);";
process.on("SIGUSR2", () => {
  spawnSync(process.execPath, ["-e", burst]);
  console.log("done");
});
console.log(process.pid);
setInterval(() => {}, 1000);
