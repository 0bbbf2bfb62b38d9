import express, { type Handler } from "express";
import { describe, expect, it } from "vitest";
import { REPORT } from "../support/faults.js";
import { hostApp, MODEL } from "../support/host-app.js";
import { type RequestOptions, serveHttp } from "../support/http.js";
import { isLinux, isRunning } from "../support/processes.js";

/**
 * What a browser sends for a page of another origin, as Chromium puts it on the wire. browser.test.ts has a browser do it; this
 * is for where there is none.
 */
const JSON_BODY = JSON.stringify({ model: MODEL, force: true });
/** Name and value of one field, with "=" in between. */
const LIKE_JSON = `{"model":"${MODEL}","force":true,"x":"="}\r\n`;
const BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
const MULTIPART = [
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n${MODEL}\r\n`,
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="a"; filename="a.json"\r\nContent-Type: application/json\r\n\r\n`,
  `${JSON_BODY}\r\n--${BOUNDARY}--\r\n`,
].join("");

const byBrowser = (mode: string, dest: string) => ({
  Origin: "http://evil.example",
  Referer: "http://evil.example/",
  "Sec-Fetch-Site": "cross-site",
  "Sec-Fetch-Mode": mode,
  "Sec-Fetch-Dest": dest,
  // A page can have the user's own sent along.
  Cookie: "session=of-the-user",
});

function post(type: string | undefined, body: string, mode = "no-cors", dest = "empty"): RequestOptions {
  const contentType: Record<string, string> = type === undefined ? {} : { "Content-Type": type };
  return { method: "POST", headers: { ...byBrowser(mode, dest), ...contentType }, body };
}

const posts: [what: string, request: RequestOptions][] = [
  ["a form", post("application/x-www-form-urlencoded", `model=${MODEL}&force=true`, "navigate", "document")],
  [
    "a form whose field is JSON",
    post("application/x-www-form-urlencoded", `${encodeURIComponent(JSON_BODY)}=`, "navigate", "iframe"),
  ],
  [
    "a form with multipart",
    post(`multipart/form-data; boundary=${BOUNDARY}`, MULTIPART, "navigate", "document"),
  ],
  ["a form of plain text that is JSON", post("text/plain", LIKE_JSON, "navigate", "document")],
  ["fetch without CORS", post("text/plain;charset=UTF-8", JSON_BODY)],
  ["fetch without CORS, of bytes", post(undefined, JSON_BODY)],
  ["fetch without CORS, of nothing", post("", JSON_BODY)],
  ["fetch with a type that looks like JSON's", post("text/plain; application/json", JSON_BODY)],
  ["fetch with a parameter that looks like JSON", post("text/plain; charset=application/json", JSON_BODY)],
  ["fetch of multipart that says JSON", post("multipart/form-data; application/json", JSON_BODY)],
  ["fetch of plain text", post("text/plain", JSON_BODY, "cors")],
  ["a beacon", post("text/plain;charset=UTF-8", JSON_BODY)],
];

const gets: [what: string, request: RequestOptions][] = [
  ["a picture", { headers: byBrowser("no-cors", "image") }],
  ["a script", { headers: byBrowser("no-cors", "script") }],
  ["a frame", { headers: byBrowser("navigate", "iframe") }],
  ["a navigation", { headers: byBrowser("navigate", "document") }],
  [
    "a web socket",
    { headers: { ...byBrowser("websocket", "empty"), Connection: "Upgrade", Upgrade: "websocket" } },
  ],
];

/** What a browser asks before it sends a request that a form could not send. */
const preflights: [what: string, asked: Record<string, string>][] = [
  ["JSON", { "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type" }],
  ["another method", { "Access-Control-Request-Method": "DELETE" }],
  [
    "JSON from a page on the internet",
    {
      "Access-Control-Request-Method": "POST",
      "Access-Control-Request-Headers": "content-type",
      "Access-Control-Request-Private-Network": "true",
    },
  ],
];

/** What a host app may have read before, and made something of. */
const everything: Handler[] = [
  express.json({ type: ["*/*"], strict: false }) as Handler,
  express.urlencoded({ extended: true }),
  express.text({ type: "*/*" }),
  express.raw({ type: "*/*" }),
];

describe.skipIf(!isLinux).each([
  ["a bare host app", [] as Handler[]],
  ["a host app that reads forms and text itself", everything.slice(1)],
  // Its parser answers by itself what is no JSON.
  ["a host app that takes any body for JSON", everything.slice(0, 1)],
])("%s", (_app, before) => {
  it("stops no model for what a page of another origin can send, and lets it read nothing", async () => {
    const { app, pid } = await hostApp({}, ...before);
    const send = await serveHttp(app);
    for (const path of ["/backend/shutdown", "/v1/backend/shutdown"]) {
      for (const [what, request] of posts) {
        const answer = await send(`${path}?model=${MODEL}&force=true`, request);
        // Where the app has its own parser, that may be the one to refuse it.
        expect([what, answer.status]).toEqual([what, expect.toBeOneOf([400, 415])]);
        expectNoConsent(answer.headers);
      }
      for (const [what, request] of gets) {
        const answer = await send(`${path}?model=${MODEL}&force=true`, request);
        expect([what, answer.status]).toEqual([what, 405]);
        expectNoConsent(answer.headers);
      }
    }
    for (const path of ["/backend/monitor", "/v1/backend/monitor"]) {
      // These are answered, but a browser does not let a page of another origin read what has no consent.
      for (const [what, request] of gets) {
        const answer = await send(`${path}?model=${MODEL}`, request);
        expect([what, answer.json]).toEqual([what, REPORT]);
        // As a script, it would be a syntax error; and as it has this type, a browser does not take it for one.
        expect(answer.headers["content-type"]).toBe("application/json; charset=utf-8");
        expectNoConsent(answer.headers);
      }
    }
    expect(isRunning(pid)).toBe(true);
    expect((await send(`/backend/monitor?model=${MODEL}`)).json).toEqual(REPORT);
  });

  it("is who answers when a browser asks what a page may send, and the router consents to nothing", async () => {
    const { app, pid } = await hostApp({}, ...before);
    app.use((_req, res) => void res.status(404).send("the host's own 404"));
    const send = await serveHttp(app);
    for (const path of ["/backend/monitor", "/backend/shutdown", "/v1/backend/shutdown"]) {
      for (const [, asked] of preflights) {
        const headers = { ...byBrowser("cors", "empty"), ...asked };
        const answer = await send(path, { method: "OPTIONS", headers });
        expect(answer).toMatchObject({ status: 404, text: "the host's own 404" });
        expectNoConsent(answer.headers);
      }
    }
    expect(isRunning(pid)).toBe(true);
  });
});

/** A browser takes nothing but these for consent. */
function expectNoConsent(headers: object) {
  expect(Object.keys(headers).filter((name) => /^access-control-|^cross-origin-/.test(name))).toEqual([]);
}
