import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import express from "express";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import {
  type BackendMonitorRouterOptions,
  bearerAuth,
  createBackendMonitorRouter,
  InMemoryModelRegistry,
  openApiDocument,
} from "../lib/index.js";
import { PATIENT } from "./support/faults.js";
import { type BackendCalls, fails, frees, hasMemory, isOk, replies, serveBackend } from "./support/grpc.js";
import { json, type RequestOptions, type Send, serveHttp } from "./support/http.js";
import { Description, objectsIn } from "./support/openapi.js";

const root = new URL("../", import.meta.url);

describe("openApiDocument", () => {
  it("is valid OpenAPI 3.1", async () => {
    const validator = new Validator();
    expect(await validator.validate({ ...openApiDocument() })).toEqual({ valid: true });
    expect(validator.version).toBe("3.1");
  });

  it("is what openapi.yaml has; `npm run openapi` makes it anew", () => {
    expect(parse(readFileSync(new URL("openapi.yaml", root), "utf8"))).toEqual(openApiDocument());
  });

  it("has the version of the package", () => {
    const { version } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));
    expect(openApiDocument().info.version).toBe(version);
  });

  it("names each operation as no other", () => {
    const operations = Object.values(openApiDocument().paths).flatMap((path) => Object.values(path));
    const ids = operations.map(({ operationId }) => operationId);
    expect(new Set(ids).size).toBe(6);
    expect(ids).toHaveLength(6);
  });

  it("is all the host's: what is changed in it changes nothing else", async () => {
    const document = openApiDocument();
    const untouched = JSON.stringify(document);
    const objects = [...objectsIn(document)].map(([, object]) => object);
    // No part of it is in two places.
    expect(new Set(objects).size).toBe(objects.length);
    for (const object of objects) for (const key of Object.keys(object)) delete object[key];
    expect(JSON.stringify(openApiDocument())).toBe(untouched);
    const send = await serve({});
    expect(await send("/backend/monitor?model=")).toMatchObject({ status: 400 });
  });

  it("says what a control character is so that tools without Unicode properties can read it", () => {
    const pattern = (openApiDocument().components.schemas.ModelName as { pattern: string }).pattern;
    const differing = Array.from({ length: 0x10000 }, (_, unit) => String.fromCharCode(unit)).filter(
      (character) => new RegExp(pattern).test(character) !== /^\P{Cc}$/u.test(character),
    );
    expect(differing).toEqual([]);
  });

  it("has no example that is not valid by its schema", () => {
    const description = new Description(openApiDocument());
    const examples = description.examples();
    expect(examples.length).toBeGreaterThan(40);
    for (const { where, value, schema } of examples) {
      const isValid = description.validator(schema);
      isValid(value);
      expect(isValid.errors, where).toBeNull();
    }
  });
});

/** A host app with one model, or none. */
interface Host extends Partial<BackendMonitorRouterOptions> {
  /** The model's backend. It is not loaded where there is none. */
  calls?: BackendCalls;
  /** Its process. */
  pid?: number;
  /** It can be stopped. */
  canStop?: boolean;
}

async function serve({ calls, pid, canStop, ...options }: Host): Promise<Send> {
  const registry = new InMemoryModelRegistry();
  if (calls) {
    const { address, stop } = await serveBackend(calls);
    registry.register({ name: "my-model", address, pid, stop: canStop ? stop : undefined });
  }
  const app = express();
  app.use(createBackendMonitorRouter({ registry, ...PATIENT, ...options }));
  return serveHttp(app);
}

/** Fails at whatever it is asked. */
const failing = {
  get: () => Promise.reject(new Error("the database is down")),
  list: () => [],
  shutdown: () => {},
};

const JSON_TYPE = { "content-type": "application/json" };
const LARGE = { headers: JSON_TYPE, body: '{"model": "my-model"}'.padEnd(16 * 1024 + 1) };
const EBCDIC = { headers: { "content-type": "application/json; charset=ebcdic" }, body: "{}" };
const COMPRESSED = { headers: { ...JSON_TYPE, "content-encoding": "compress" }, body: "{}" };
const CONTROL = { headers: JSON_TYPE, body: '{"model": "a\\nb"}' };
const MALFORMED = { headers: JSON_TYPE, body: "{" };
const FORM = { headers: { "content-type": "application/x-www-form-urlencoded" }, body: "model=my-model" };

/** Whatever is sent to any of the paths, this may come of it. */
const refusals: [Host, RequestOptions][] = [
  [{ authorize: bearerAuth(["s3cret"]) }, {}],
  [{ allowedHosts: ["127.0.0.1"] }, { headers: { host: "rebound.example" } }],
  [{}, {}],
  [{}, LARGE],
  [{}, EBCDIC],
  [{}, COMPRESSED],
  [{}, CONTROL],
  [{}, MALFORMED],
  [{}, FORM],
];

const monitored: Host[] = [
  { calls: { Status: hasMemory } },
  { calls: { Status: replies({ state: 7, memory: { total: "18446744073709551615" } }) } },
  { calls: { Status: replies({ state: 1 }) }, pid: process.pid },
  { calls: { Status: replies({ state: 2 }) } },
  { calls: { Health: isOk }, pid: process.pid },
  { calls: { Status: fails(14, "not yet") }, pid: process.pid },
  { calls: { Status: fails(13, "out of memory") } },
  {},
  { registry: failing },
];

const stopped: [Host, body: object][] = [
  [{ calls: { Status: hasMemory, Free: frees }, canStop: true }, { model: "my-model" }],
  [
    { calls: { Status: replies({ state: 1 }) }, canStop: true },
    { model: "my-model", force: true },
  ],
  [{ calls: { Status: replies({ state: 1 }) }, drainTimeoutMs: 0 }, { model: "my-model" }],
  [{ calls: {} }, { model: "my-model" }],
  [{}, { model: "my-model" }],
  [{ registry: failing }, { model: "my-model" }],
  [{}, { model: "" }],
  [{}, { model: 42 }],
  [{}, { model: "x".repeat(513) }],
];

/** Some that are allowed, and some that are not. */
const bodies = [
  { model: "m" },
  { model: "m", force: true, more: [1] },
  { model: "m", force: "yes" },
  { model: "m", force: null },
  { model: "🦙".repeat(512) },
  { model: "🦙".repeat(513) },
  { model: " " },
  { model: "" },
  { model: "a\u0000b" },
  { model: "a\u0085b" },
  { model: "m\n" },
  { model: 42 },
  { model: null },
  { name: "m" },
  [{ model: "m" }],
  "m",
  null,
];

describe.each([[""], ["/v1"]])("what is answered at %s/backend", (prefix) => {
  const monitor = `${prefix}/backend/monitor`;
  const shutdown = `${prefix}/backend/shutdown`;

  it("is what the document says, and the document says nothing that is not answered", async () => {
    const description = new Description(openApiDocument());
    const seen = new Set<string>();
    const errors: unknown[] = [];
    const ask = async (
      host: Host,
      method: string,
      path: string,
      request: RequestOptions = {},
      query = "",
    ) => {
      const send = await serve(host);
      const answer = await send(`${path}${query}`, { ...request, method });
      seen.add(description.check(method, path, answer));
      if (answer.json?.error) errors.push(answer.json);
    };

    for (const method of ["GET", "HEAD"]) {
      for (const host of monitored) await ask(host, method, monitor, {}, "?model=my-model");
      for (const [host, request] of refusals) await ask(host, method, monitor, request);
    }
    for (const [host, body] of stopped) await ask(host, "POST", shutdown, json(body));
    for (const [host, request] of refusals) await ask(host, "POST", shutdown, request);
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) await ask({}, method, monitor);
    for (const method of ["GET", "HEAD", "PUT", "PATCH", "DELETE"]) await ask({}, method, shutdown);

    const documented = description.outcomes.filter(({ path }) => path === monitor || path === shutdown);
    expect([...seen].sort()).toEqual(documented.map(({ name }) => name).sort());

    // No example of an error is made up.
    const given = JSON.stringify(errors).replaceAll("after 0 ms", "after 30000 ms");
    for (const { value } of description.examples()) {
      if (value.error) expect(given).toContain(JSON.stringify(value));
    }
  });
});

it("a request is answered with 400 just where the document does not allow for the request", async () => {
  const { components } = openApiDocument();
  const description = new Description(openApiDocument());
  const validator = (name: string) => description.validator(components.schemas[name] ?? {});
  const isMonitorRequest = validator("MonitorRequest");
  const isShutdownRequest = validator("ShutdownRequest");
  const isModelName = validator("ModelName");
  const send = await serve({});
  const isTaken = async (path: string, request?: RequestOptions) =>
    (await send(path, request)).status !== 400;

  for (const body of bodies) {
    const what = JSON.stringify(body);
    expect(await isTaken("/backend/monitor", json(body, "GET")), what).toBe(isMonitorRequest(body));
    expect(await isTaken("/backend/shutdown", json(body)), what).toBe(isShutdownRequest(body));
    const model = Object(body).model;
    if (typeof model !== "string") continue;
    expect(await isTaken(`/backend/monitor?model=${encodeURIComponent(model)}`), what).toBe(
      isModelName(model),
    );
  }
});

it("an answer has figures of 64 bits, with all of their digits", async () => {
  const send = await serve({
    calls: {
      Status: replies({
        state: 2,
        memory: { total: "18446744073709551615", breakdown: { weights: "9007199254740993" } },
      }),
    },
  });
  const answer = await send("/backend/monitor?model=my-model");
  expect(new Description(openApiDocument()).check("GET", "/backend/monitor", answer)).toMatch(
    /ReportedStatus$/,
  );
  expect(answer.text).toContain('{"total":18446744073709551615,"breakdown":{"weights":9007199254740993}}');
});
