import express from "express";
import { beforeEach, describe, expect, it } from "vitest";
import { bearerAuth, createBackendMonitorRouter } from "../lib/index.js";
import { type Send, serveHttp } from "./support/http.js";

describe("bearerAuth", () => {
  let send: Send;
  beforeEach(async () => {
    const app = express();
    const registry = { get: () => undefined, list: () => [], shutdown: () => {} };
    app.use(createBackendMonitorRouter({ registry, authorize: bearerAuth(["first", "s3cret/+="]) }));
    send = await serveHttp(app);
  });
  const call = (authorization?: string) =>
    send("/backend/monitor?model=m", authorization === undefined ? {} : { headers: { authorization } });

  it.each(["Bearer first", "Bearer s3cret/+=", "bearer first", "BEARER  first "])(
    "lets %j pass",
    async (header) => {
      expect(await call(header)).toMatchObject({
        status: 500,
        json: { error: { type: "model_not_loaded" } },
      });
    },
  );

  it.each([
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "Bearer firs",
    "Bearer firstx",
    "Bearer First",
    "Basic first",
    "first",
    "Bearer first first",
  ])("answers 401 to %j", async (header) => {
    const answer = await call(header);
    expect(answer.status).toBe(401);
    expect(answer.headers).toMatchObject({
      "www-authenticate": "Bearer",
      "content-type": "application/json; charset=utf-8",
      "cache-control": "no-store",
    });
    expect(answer.json).toEqual({
      error: {
        code: 401,
        message: 'a token is needed: send "Authorization: Bearer TOKEN"',
        type: "invalid_request_error",
      },
    });
  });

  it.each([
    [undefined, /takes an array of at least one: a token .*, got undefined/],
    ["s3cret", /takes an array of at least one: a token .*, got a string/],
    [[], /got an empty array/],
    [["ok", ""], /a token of visible ASCII characters .*, got an array with an empty string at index 1/],
    [[7], /got an array with a number at index 0/],
    [["s3cret word"], /got an array with a string at index 0/],
  ])("refuses %j, and does not show it", (tokens, message) => {
    const create = () => bearerAuth(tokens as string[]);
    expect(create).toThrow(TypeError);
    expect(create).toThrow(message);
    expect(create).toThrow(/^(?!.*s3cret)/);
  });
});
