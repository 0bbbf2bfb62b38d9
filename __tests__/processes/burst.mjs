// On each SIGUSR2: starts a child that uses as many milliseconds of CPU as the first argument says (default 500) and ends, and
// says so when it has.
import { spawnSync } from "node:child_process";

const microseconds = Number(process.argv[2] ?? 500) * 1000;
const burst = `const end = process.cpuUsage().user + ${microseconds}; while (process.cpuUsage().user < end) for (let turns = 0; turns < 1e5; turns++);`;
process.on("SIGUSR2", () => {
  spawnSync(process.execPath, ["-e", burst]);
  console.log("done");
});
console.log(process.pid);
setInterval(() => {}, 1000);
