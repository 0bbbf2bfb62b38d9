import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, it } from "vitest";
import { family, root, startExample } from "../support/example.js";
import { json, send } from "../support/http.js";
import { isLinux, isRunning, kernelChildren } from "../support/processes.js";

// Side by side, as some of what is stopped here is given ten seconds.
describe.skipIf(!isLinux).concurrent("the example", { timeout: 60_000 }, () => {
  it.for(["SIGINT", "SIGTERM"] as const)("leaves no process behind on %s", async (signal, { expect }) => {
    const { server: another } = await startExample();
    const everything = family(another.pid ?? 0);
    expect(everything).toHaveLength(6);
    another.kill(signal);
    expect(await once(another, "exit")).toEqual([0, null]);
    expect(everything.filter(isRunning)).toEqual([]);
  });

  it("leaves no process behind where it is stopped while it starts", async ({ expect }) => {
    const starting = spawn(process.execPath, ["build/examples/server.js"], {
      cwd: root,
      env: { ...process.env, PORT: "0" },
      stdio: "ignore",
    });
    const exited = once(starting, "exit");
    await expect.poll(() => kernelChildren(starting.pid ?? 0), { timeout: 10_000 }).not.toEqual([]);
    const everything = family(starting.pid ?? 0);
    starting.kill("SIGTERM");
    await exited;
    expect(everything.filter(isRunning)).toEqual([]);
  });

  it("stops what a start script leaves behind that is killed", async ({ expect }) => {
    const { server: another, lines } = await startExample();
    const plain = Number(/plain +process (\d+)/.exec(lines.join("\n"))?.[1]);
    const everything = family(plain);
    expect(everything).toHaveLength(3);
    process.kill(plain, "SIGKILL");
    // The worker ignores SIGTERM, and has ten seconds.
    await expect.poll(() => everything.filter(isRunning), { timeout: 40_000 }).toEqual([]);
    another.kill("SIGINT");
    await once(another, "exit");
  });

  it("stops a stuck backend that is asked nicely, too", async ({ expect }) => {
    const { server: another, lines } = await startExample();
    const address = lines.map((line) => /http:\/\/[\d.:]+/.exec(line)?.[0]).find(Boolean);
    const stuck = Number(/stuck +process (\d+)/.exec(lines.join("\n"))?.[1]);
    expect(await send(`${address}/backend/shutdown`, json({ model: "stuck" }))).toMatchObject({
      status: 200,
    });
    expect(isRunning(stuck)).toBe(false);
    another.kill("SIGINT");
    await once(another, "exit");
  });
});
