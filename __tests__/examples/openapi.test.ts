import { once } from "node:events";
import { expect, it, onTestFinished } from "vitest";
import { openApiDocument } from "../../lib/index.js";
import { startExample } from "../support/example.js";
import { json, type RequestOptions, send } from "../support/http.js";
import { Description } from "../support/openapi.js";
import { isLinux } from "../support/processes.js";

it.skipIf(!isLinux)(
  "the example serves its description, and answers by it",
  { timeout: 60_000 },
  async () => {
    const { url, server } = await startExample();
    onTestFinished(async () => {
      const exited = once(server, "exit");
      if (server.kill("SIGTERM")) await exited;
    });
    const { headers, json: document } = await send(`${url}/openapi.json`);
    expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(document).toEqual(openApiDocument());
    const description = new Description(document);
    const ask = async (method: string, path: string, request: RequestOptions = {}, query = "") => {
      const answer = await send(`${url}${path}${query}`, { ...request, method });
      return description.check(method, path, answer);
    };

    const monitor = "/backend/monitor";
    const shutdown = "/v1/backend/shutdown";
    expect([
      await ask("GET", monitor, {}, "?model=chat"),
      await ask("GET", monitor, json({ model: "plain" })),
      await ask("GET", `/v1${monitor}`, {}, "?model=stuck"),
      await ask("HEAD", monitor, {}, "?model=plain"),
      await ask("GET", monitor, {}, "?model=unheard-of"),
      await ask("GET", monitor),
      await ask("DELETE", monitor, {}, "?model=chat"),
      await ask("GET", shutdown),
      await ask("POST", shutdown, { headers: { "content-type": "text/plain" }, body: '{"model": "chat"}' }),
      await ask("POST", shutdown, json({ model: "x".repeat(16 * 1024) })),
      await ask("POST", shutdown, json({ model: "chat" })),
      await ask("POST", "/backend/shutdown", json({ model: "stuck", force: true })),
      await ask("POST", "/backend/shutdown", json({ model: "stuck" })),
    ]).toEqual([
      "GET /backend/monitor 200 ReportedStatus",
      "GET /backend/monitor 200 FallbackStatus",
      "GET /v1/backend/monitor 200 FallbackStatus",
      "HEAD /backend/monitor 200",
      "GET /backend/monitor 500 model_not_loaded",
      "GET /backend/monitor 400 invalid_request_error",
      "GET /backend/monitor 405 invalid_request_error",
      "POST /v1/backend/shutdown 405 invalid_request_error",
      "POST /v1/backend/shutdown 400 invalid_request_error",
      "POST /v1/backend/shutdown 413 invalid_request_error",
      "POST /v1/backend/shutdown 200 ShutdownAnswer",
      "POST /backend/shutdown 200 ShutdownAnswer",
      "POST /backend/shutdown 500 model_not_loaded",
    ]);
  },
);
