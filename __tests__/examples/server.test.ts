import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { curl } from "../support/curl.js";
import { family, root, startExample } from "../support/example.js";
import { type Answer, json, send } from "../support/http.js";
import { isLinux, isRunning, kernelBytes, kernelChildren, kernelSession } from "../support/processes.js";
import { readmeBlocks } from "../support/readme.js";

const hasSetsid = spawnSync("setsid", ["true"]).status === 0;

/** What an answer is, in a few words. */
function outcomeOf({ error, message, openapi, models, text, state }: Answer["json"]): string {
  const names = models?.map(({ name }: { name: string }) => name).join(" ");
  return error?.type ?? message ?? openapi ?? names ?? (text ? "text" : state);
}

describe.skipIf(!isLinux)("the example", () => {
  let server: ChildProcess;
  let curls: string[];
  let url: string;
  /** The process id that it printed for each model. */
  const pids = new Map<string, number>();

  beforeAll(async () => {
    const started = await startExample();
    ({ server, curls } = started);
    url = started.lines.map((line) => /http:\/\/[\d.:]+/.exec(line)?.[0]).find(Boolean) ?? "";
    for (const line of started.lines) {
      const [, name = "", pid] = /^ {2}(\w+) +process (\d+), gRPC on/.exec(line) ?? [];
      if (pid) pids.set(name, Number(pid));
    }
  });

  afterAll(async () => {
    if (server.exitCode === null) {
      server.kill("SIGTERM");
      await once(server, "exit");
    }
  });

  it("runs three backends as processes of their own", () => {
    expect([...pids.keys()]).toEqual(["chat", "plain", "stuck"]);
    expect(kernelChildren(server.pid ?? 0).sort()).toEqual([...pids.values()].sort());
    const plain = family(pids.get("plain") ?? 0);
    expect(plain).toHaveLength(3);
    // Its worker started a session of its own.
    if (hasSetsid) expect(plain.filter((pid) => kernelSession(pid) === pid)).toHaveLength(1);
  });

  it("reports what chat says that it holds, and that it grows with use", async () => {
    const before = (await send(`${url}/backend/monitor?model=chat`)).json;
    expect(before).toMatchObject({
      state: 2,
      memory: { breakdown: { weights: 64 * 1024 ** 2, kv_cache: 0 } },
    });
    const predicting = send(`${url}/predict`, json({ model: "chat", prompt: "Sing!", tokens: 20 }));
    await expect.poll(async () => (await send(`${url}/backend/monitor?model=chat`)).json.state).toBe(1);
    expect((await predicting).json.text).toMatch(/^la la/);
    const { state, memory } = (await send(`${url}/backend/monitor?model=chat`)).json;
    expect(state).toBe(2);
    expect(memory.breakdown.kv_cache).toBe(20 * 1024 ** 2);
    expect(memory.total).toBeGreaterThan(before.memory.total);
    // It is truthful: the kernel says the same.
    const rss = kernelBytes(pids.get("chat") ?? 0, "VmRSS");
    expect(Math.abs(memory.total - rss)).toBeLessThan(0.05 * rss);
  });

  it("reports what the system knows of plain, which has no Status and is a child of its script", async () => {
    const { json: answer } = await send(`${url}/backend/monitor?model=plain`);
    expect(answer).toMatchObject({ state: 2, status_error: { code: "UNIMPLEMENTED" } });
    const kernel = family(pids.get("plain") ?? 0).reduce((sum, pid) => sum + kernelBytes(pid, "VmRSS"), 0);
    expect(Math.abs(answer.memory_info.rss - kernel)).toBeLessThan(0.05 * kernel);
  });

  it("answers as README shows", async () => {
    const block = readmeBlocks().find(({ id }) => id === "express-backend-monitor: console")?.code ?? "";
    const [line = "", shown = ""] = block.split("\n");
    const answer = await curl(line.replace("$ curl", "curl").replace("http://127.0.0.1:8080", url));
    const anyNumbers = (text: string) => text.replace(/\d[\d.]*/g, "0");
    expect(anyNumbers(answer.text)).toBe(anyNumbers(shown));
  });

  it("reports what the system knows of stuck, in time", async () => {
    const since = performance.now();
    const { json: answer } = await send(`${url}/backend/monitor?model=stuck`);
    expect(performance.now() - since).toBeLessThan(2500);
    expect(answer).toMatchObject({ state: -1, status_error: { code: "DEADLINE_EXCEEDED" } });
    expect(answer.memory_info.rss).toBeGreaterThan(0);
  });

  it("answers every curl line that it prints, the last ones by stopping the models", {
    timeout: 60_000,
  }, async () => {
    const everything = [...pids.values()].flatMap(family);
    expect(everything).toHaveLength(5);
    const statuses: string[] = [];
    for (const line of curls) {
      const { status, text, json: answer } = await curl(line);
      statuses.push(
        `${status} ${answer ? outcomeOf(answer) : (text.split("\n")[0] ?? "").replace(/:\d+$/, "")}`,
      );
    }
    expect(statuses).toEqual([
      "200 2",
      "200 2",
      "200 -1",
      "200 2",
      "200 text",
      "200 2",
      "400 invalid_request_error",
      "500 model_not_loaded",
      "200 chat plain stuck",
      "200 listening on 127.0.0.1",
      "200 # HELP backend_models Models that are loaded.",
      "200 3.1.0",
      "200 model stopped",
      "200 model stopped",
      "200 model stopped",
    ]);
    expect(everything.filter(isRunning)).toEqual([]);
    expect((await send(`${url}/backend/monitor?model=chat`)).json.error.type).toBe("model_not_loaded");
  });

  it("says so where its port is taken, and leaves nothing behind", async () => {
    const port = new URL(url).port;
    const second = spawn(process.execPath, ["build/examples/server.js"], {
      cwd: root,
      env: { ...process.env, PORT: port },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const exited = once(second, "exit");
    const said = (await second.stderr.toArray()).join("");
    expect(await exited).toEqual([1, null]);
    expect(said).toContain(`can't listen on port ${port} (EADDRINUSE); try another one: PORT=8081 npm start`);
  });
});
