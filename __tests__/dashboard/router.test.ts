import { describe, expect, it } from "vitest";
import { bearerAuth } from "../../lib/index.js";
import { CountingRegistry, load, serveDashboard } from "../support/dashboard.js";
import { json, type RequestOptions } from "../support/http.js";

/** Every path, and what it answers. */
const PATHS: [path: string, request: RequestOptions, status: number][] = [
  ["", {}, 302],
  ["/", {}, 200],
  ["/index.html", {}, 200],
  ["/api/backends", {}, 200],
  ["/api/backends/shutdown", json({ model: "other" }), 200],
  ["/api/history?model=m", {}, 200],
  ["/api/events", { method: "HEAD" }, 200],
  ["/api/logs?model=m", {}, 200],
];

async function registryWithModel(): Promise<CountingRegistry> {
  const registry = Object.assign(new CountingRegistry(), { logs: () => "log" });
  await load(registry, "m");
  return registry;
}

describe.each(PATHS)("the path %j", (path, request, status) => {
  it("is answered", async () => {
    const { send } = await serveDashboard({ registry: await registryWithModel() });
    expect((await send(path, request)).status).toBe(status);
  });

  it("is behind the host's guard", async () => {
    const registry = await registryWithModel();
    const { send } = await serveDashboard({ registry, authorize: bearerAuth(["s3cret"]) });
    const refused = await send(path, request);
    expect(refused).toMatchObject({ status: 401, headers: { "www-authenticate": "Bearer" } });
    expect((await send(path, { ...request, method: "DELETE" })).status).toBe(401);
    expect(registry.lists).toBe(0);
    const headers = { ...request.headers, authorization: "Bearer s3cret" };
    expect((await send(path, { ...request, headers })).status).toBe(status);
  });

  it("answers to allowed hosts alone", async () => {
    const registry = await registryWithModel();
    const { send } = await serveDashboard({ registry, allowedHosts: ["localhost"] });
    expect((await send(path, request)).status).toBe(403);
    expect(registry.lists).toBe(0);
    const headers = { ...request.headers, host: "localhost" };
    expect((await send(path, { ...request, headers })).status).toBe(status);
  });

  it("leaves OPTIONS to the host, also in front of the guards", async () => {
    const { send } = await serveDashboard({
      registry: await registryWithModel(),
      authorize: bearerAuth(["s3cret"]),
      allowedHosts: ["localhost"],
    });
    expect(await send(path, { method: "OPTIONS" })).toMatchObject({
      status: 404,
      text: "the host's own 404",
    });
  });

  it("answers any other method with 405", async () => {
    const { send } = await serveDashboard({ registry: await registryWithModel() });
    const allowed = path === "/api/backends/shutdown" ? ["POST"] : ["GET", "HEAD"];
    for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]) {
      if (allowed.includes(method)) continue;
      const answer = await send(path, { method });
      expect(answer).toMatchObject({ status: 405, headers: { allow: allowed.join(", ") } });
    }
  });
});

it("has the guard run for its own paths, and for none else", async () => {
  let guarded = 0;
  const authorize = bearerAuth(["s3cret"]);
  const { send } = await serveDashboard({
    registry: await registryWithModel(),
    authorize: (req, res, next) => {
      guarded++;
      return authorize(req, res, next);
    },
  });
  for (const path of [
    "/api",
    "/api/",
    "/api/backends/",
    "/api/Backends",
    "/api/backends/m",
    "/favicon.ico",
    "/page",
  ]) {
    expect(await send(path)).toMatchObject({ status: 404, text: "the host's own 404" });
  }
  expect(guarded).toBe(0);
});

it("answers that the registry can't list its models, and its log tells why once", async () => {
  const registry = new CountingRegistry();
  registry.before = () => Promise.reject(new Error("secret"));
  const errors: string[] = [];
  const logger = { info: () => {}, error: (message: string) => errors.push(message) };
  const { send } = await serveDashboard({ registry, logger });
  const answer = await send("/api/backends");
  expect(answer).toMatchObject({ status: 500, json: { error: { type: "internal_error" } } });
  expect(answer.text).not.toContain("secret");
  expect(errors).toEqual([expect.stringContaining("secret")]);
});
