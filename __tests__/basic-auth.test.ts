import express from "express";
import { beforeEach, describe, expect, it } from "vitest";
import { basicAuth, createBackendMonitorRouter } from "../lib/index.js";
import { type Send, serveHttp } from "./support/http.js";

const basic = (user: string) => `Basic ${Buffer.from(user).toString("base64")}`;

describe("basicAuth", () => {
  let send: Send;
  beforeEach(async () => {
    const app = express();
    const registry = { get: () => undefined, list: () => [], shutdown: () => {} };
    const authorize = basicAuth({ alice: "s3cret", Zoë: "pass:wörd 🦙", ["__proto__"]: "own" });
    app.use(createBackendMonitorRouter({ registry, authorize }));
    send = await serveHttp(app);
  });
  const call = (authorization?: string) =>
    send("/backend/monitor?model=m", authorization === undefined ? {} : { headers: { authorization } });

  it.each([
    basic("alice:s3cret"),
    basic("alice:s3cret").replace("Basic", "bAsIc "),
    basic("Zoë:pass:wörd 🦙"),
    basic("__proto__:own"),
  ])("lets %j pass", async (header) => {
    expect(await call(header)).toMatchObject({ status: 500, json: { error: { type: "model_not_loaded" } } });
  });

  it.each([
    undefined,
    "",
    "Basic",
    "Basic ",
    "Basic alice:s3cret",
    "Bearer s3cret",
    basic("alice"),
    basic("alice:"),
    basic("alice:s3cre"),
    basic("alice:s3cret "),
    basic("Alice:s3cret"),
    basic("alice:pass:wörd 🦙"),
    basic("toString:undefined"),
    `${basic("alice:s3cret")} ${basic("alice:s3cret")}`,
  ])("answers 401 to %j, and has a browser ask for both", async (header) => {
    const answer = await call(header);
    expect(answer.status).toBe(401);
    expect(answer.headers).toMatchObject({
      "www-authenticate": 'Basic realm="backend monitor", charset="UTF-8"',
      "content-type": "application/json; charset=utf-8",
      "cache-control": "no-store",
    });
    expect(answer.json.error).toEqual({
      code: 401,
      message: 'a name and a password are needed: send "Authorization: Basic BASE64", of NAME:PASSWORD',
      type: "invalid_request_error",
    });
  });

  it.each([
    [undefined, /^basicAuth takes an object of at least one password by its user's name; .*, got undefined$/],
    ["alice:s3cret", /got a string$/],
    [["s3cret"], /got an array$/],
    [{}, /got an empty object$/],
    [{ ok: "ok", "a:b": "s3cret" }, /got an object whose "a:b" is no such user or has no such password$/],
    [{ alice: "" }, /whose "alice" is no such user/],
    [{ alice: 7 }, /whose "alice" is no such user/],
    [{ alice: "s3cret\n" }, /whose "alice" is no such user/],
    [{ "": "s3cret" }, /whose "" is no such user/],
  ])("refuses %j, and does not show a password", (users, message) => {
    const create = () => basicAuth(users as Record<string, string>);
    expect(create).toThrow(TypeError);
    expect(create).toThrow(message);
    expect(create).toThrow(/^(?!.*s3cret)/);
  });
});
