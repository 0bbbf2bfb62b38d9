import { describe, expect, it } from "vitest";
import { BackendError, InMemoryModelRegistry, type RegistryShutdownOptions } from "../../lib/index.js";
import { CountingRegistry, load, serveDashboard } from "../support/dashboard.js";
import { type Call, frees, replies, serveBackend } from "../support/grpc.js";
import { json } from "../support/http.js";
import { isRunning, startScript } from "../support/processes.js";

const PATH = "/api/backends/shutdown";
const STOPPED = "model stopped";
const notLoaded = (model: string) => ({
  model,
  error: { code: 500, type: "model_not_loaded", message: `model "${model}" is not loaded` },
});

/** Models that a real process serves each. */
async function realModels(...names: string[]) {
  const registry = new InMemoryModelRegistry();
  const started = await Promise.all(names.map(() => startScript("reporting.mjs")));
  for (const [index, name] of names.entries()) {
    const { pid, words } = started[index] ?? { pid: 0, words: [] };
    registry.register({ name, address: `127.0.0.1:${words[0]}`, pid });
  }
  return { registry, pids: started.map(({ pid }) => pid) };
}

describe("POST api/backends/shutdown", () => {
  it("stops one model, and tells of its phases in order", async () => {
    const { registry, pids } = await realModels("m", "stays");
    const { send, view } = await serveDashboard({ registry });
    const viewer = await view();
    await viewer.next("snapshot");
    const answer = await send(PATH, json({ model: "m" }));
    expect(answer).toMatchObject({ status: 200, json: { outcomes: [{ model: "m", message: STOPPED }] } });
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(pids.map(isRunning)).toEqual([false, true]);
    const phases = [];
    for (let phase = 0; phase < 4; phase++) phases.push((await viewer.next("shutdown")).data);
    expect(phases).toEqual([
      { model: "m", phase: "draining" },
      { model: "m", phase: "freeing" },
      { model: "m", phase: "terminating" },
      { model: "m", phase: "stopped", processes: expect.any(Number) },
    ]);
    await expect.poll(() => [...viewer.models.keys()]).toEqual(["stays"]);
  });

  it("stops several, each once and each with its own outcome, in the order in which they were named", async () => {
    const { registry, pids } = await realModels("a", "b", "stays");
    const { send, view } = await serveDashboard({ registry });
    const viewer = await view();
    await viewer.next("snapshot");
    const { status, json: answer } = await send(PATH, json({ models: ["b", "__proto__", "a", "b", "a"] }));
    expect(status).toBe(200);
    expect(answer.outcomes).toEqual([
      { model: "b", message: STOPPED },
      notLoaded("__proto__"),
      { model: "a", message: STOPPED },
    ]);
    expect(pids.map(isRunning)).toEqual([false, false, true]);
    await expect.poll(() => [...viewer.models.keys()]).toEqual(["stays"]);
    // What never was, nobody is told of.
    const told = viewer.events.flatMap(({ event, data }) => (event === "shutdown" ? data.model : []));
    expect([...new Set(told)].sort()).toEqual(["a", "b"]);
  });

  it("stops all that are listed", async () => {
    const { registry, pids } = await realModels("a", "b");
    const { send } = await serveDashboard({ registry });
    const { json: answer } = await send(PATH, json({ all: true, force: true, more: 1 }));
    expect(answer).toEqual({ outcomes: ["a", "b"].map((model) => ({ model, message: STOPPED })) });
    expect(pids.map(isRunning)).toEqual([false, false]);
    expect((await send(PATH, json({ all: true }))).json).toEqual({ outcomes: [] });
  });

  it("stops them at the same time, and has none wait for, or fail with, another", async () => {
    const registry = new CountingRegistry();
    const names = ["slow", "stuck", "fails"];
    await load(registry, ...names);
    const stopping = new Map<string, (value: unknown) => void>();
    const forced: unknown[] = [];
    registry.shutdown = async (name: string, options?: RegistryShutdownOptions) => {
      forced.push(options?.force);
      if (name === "fails") throw new BackendError("it does not end");
      if (name === "stuck") throw new Error("secret");
      await new Promise((resolve) => stopping.set(name, resolve));
      registry.models.delete(name);
    };
    const { send, view } = await serveDashboard({ registry });
    const viewer = await view();
    await viewer.next("snapshot");
    const answering = send(PATH, json({ models: names, force: true }));
    const failures = [];
    while (failures.length < 2) {
      const { data } = await viewer.next("shutdown");
      if (data.phase === "failed") failures.push(data);
    }
    expect(failures.map(({ model }) => model).sort()).toEqual(["fails", "stuck"]);
    await expect.poll(() => viewer.models.get("slow")).toMatchObject({ shutdown: "terminating" });
    stopping.get("slow")?.(undefined);
    const outcomes = [
      { model: "slow", message: STOPPED },
      {
        model: "stuck",
        error: {
          code: 500,
          type: "internal_error",
          message: expect.stringMatching(/registry failed to stop/),
        },
      },
      { model: "fails", error: { code: 500, type: "backend_error", message: "it does not end" } },
    ];
    expect(await answering).toMatchObject({ status: 200, json: { outcomes } });
    expect(forced).toEqual([true, true, true]);
  });

  it("waits for a busy model, and with force does not", async () => {
    const registry = new CountingRegistry();
    const Status: Call = replies({ state: 1, memory: { total: "1", breakdown: {} } });
    const { address } = await serveBackend({ Status, Free: frees });
    registry.models.set("m", { name: "m", address });
    const { send } = await serveDashboard({ registry, drainTimeoutMs: 50 });
    const { outcomes } = (await send(PATH, json({ model: "m" }))).json;
    expect(outcomes).toMatchObject([{ model: "m", error: { type: "model_busy" } }]);
    expect((await send(PATH, json({ model: "m", force: true }))).json).toEqual({
      outcomes: [{ model: "m", message: STOPPED }],
    });
  });

  it("answers that the registry can't list its models, where all are to be stopped", async () => {
    const registry = new CountingRegistry();
    registry.before = () => Promise.reject(new Error("secret"));
    const errors: string[] = [];
    const logger = { info: () => {}, error: (message: string) => errors.push(message) };
    const { send } = await serveDashboard({ registry, logger });
    const { status, json: answer } = await send(PATH, json({ all: true }));
    expect(status).toBe(500);
    expect(answer.error).toMatchObject({
      type: "internal_error",
      message: expect.stringMatching(/failed to list/),
    });
    expect(errors).toEqual([expect.stringContaining("secret")]);
  });

  const HINT =
    'send {"model": "NAME"}, {"models": ["NAME", …]} or {"all": true}, one of them, as application/json';
  it.each<[what: string, body: unknown, message: string]>([
    ["nothing", {}, `the model is missing; ${HINT}`],
    ["a list", ["m"], `got no model but an array; ${HINT}`],
    ["a name", "m", `got no model but the string "m"; ${HINT}`],
    ["null", null, `got no model but null; ${HINT}`],
    ["a number as name", { model: 42 }, '"model" must be a string, got the number 42'],
    ["no name", { model: "" }, `the model's name is empty; ${HINT}`],
    [
      "a control character",
      { model: "a\nb" },
      'the model\'s name has control characters, got the string "a\\nb"',
    ],
    ["no models", { models: [] }, `"models" is empty; ${HINT}`],
    [
      "too many models",
      { models: Array.from({ length: 1_001 }, (_, index) => `m${index}`) },
      '"models" has more than 1000 names; send them in several requests',
    ],
    ["a name as models", { models: "m" }, '"models" must be an array, got the string "m"'],
    ["a number among names", { models: ["m", 42] }, '"models[1]" must be a string, got the number 42'],
    ["an empty name among names", { models: ["m", ""] }, `"models[1]" is empty; ${HINT}`],
    [
      "a name that is too long among names",
      { models: ["x".repeat(513)] },
      '"models[0]" is longer than 512 characters',
    ],
    ["a tab among names", { models: ["\t"] }, '"models[0]" has control characters, got the string "\\t"'],
    ["not all", { all: false }, '"all" must be true, got the boolean false'],
    ["all as a string", { all: "true" }, '"all" must be true, got the string "true"'],
    ["two ways", { model: "m", all: true }, `it says in more than one way what to stop; ${HINT}`],
    [
      "three ways",
      { model: "m", models: ["m"], all: true },
      `it says in more than one way what to stop; ${HINT}`,
    ],
    ["a number as force", { model: "m", force: 1 }, '"force" must be a boolean, got the number 1'],
  ])("answers %s with 400, and stops nothing", async (_what, body, message) => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    const { send } = await serveDashboard({ registry });
    const answer = await send(PATH, json(body));
    expect(answer.json).toEqual({ error: { code: 400, type: "invalid_request_error", message } });
    expect(answer.status).toBe(400);
    expect([...registry.models.keys()]).toEqual(["m"]);
  });

  it("takes no form, no text and no query, as a page of another origin can send them", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    const { send } = await serveDashboard({ registry });
    const body = JSON.stringify({ all: true });
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
    ]) {
      const headers = { "content-type": type };
      expect((await send(PATH, { method: "POST", headers, body })).status).toBe(400);
    }
    expect((await send(PATH, { method: "POST", body })).status).toBe(400);
    expect((await send(`${PATH}?all=true`, { method: "POST" })).status).toBe(400);
    expect([...registry.models.keys()]).toEqual(["m"]);
  });

  it("reads a body of 256 KiB, and none that is larger", async () => {
    const registry = new CountingRegistry();
    const { send } = await serveDashboard({ registry });
    const models = Array.from({ length: 500 }, (_, number) => `${number}`.padEnd(512, "x"));
    const body = JSON.stringify({ models });
    const largest = json({ models, padding: "x".repeat(256 * 1024 - body.length - ',"padding":""'.length) });
    expect(largest.body).toHaveLength(256 * 1024);
    const answer = await send(PATH, largest);
    expect(answer.json.outcomes).toEqual(
      models.map((model) => ({ model, error: expect.objectContaining({ type: "model_not_loaded" }) })),
    );
    const larger = await send(PATH, { ...largest, body: `${largest.body} ` });
    expect(larger).toMatchObject({
      status: 413,
      json: { error: { message: "the body is larger than 262144 bytes" } },
    });
  });

  it("goes on where the client leaves", async () => {
    const registry = new CountingRegistry();
    await load(registry, "m");
    let finish = () => {};
    registry.shutdown = (name: string) =>
      new Promise<void>((resolve) => {
        finish = () => {
          registry.models.delete(name);
          resolve();
        };
      });
    const { url, view } = await serveDashboard({ registry });
    const viewer = await view();
    await viewer.next("snapshot");
    const leaving = new AbortController();
    const request = {
      ...json({ model: "m", force: true }),
      body: JSON.stringify({ model: "m", force: true }),
    };
    const asking = fetch(`${url}${PATH}`, { ...request, signal: leaving.signal });
    expect((await viewer.next("shutdown")).data.phase).toBe("terminating");
    leaving.abort();
    await expect(asking).rejects.toThrow();
    finish();
    expect((await viewer.next("shutdown")).data.phase).toBe("stopped");
  });
});
