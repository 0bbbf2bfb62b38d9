import { once } from "node:events";
import { rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { STATUS_TIMEOUT_MS, undisturbed } from "../support/faults.js";
import { json } from "../support/http.js";
import { end, freeze, isLinux, isRunning, type Started, startScript } from "../support/processes.js";
import { temporaryFolder } from "../support/supervisor.js";

const FREE_TIMEOUT_MS = 300;

/** None of these processes has to be waited for. A machine may be busy. */
const SOON_MS = STATUS_TIMEOUT_MS + FREE_TIMEOUT_MS + 5_000;

interface Backend extends Started {
  address: string;
}

async function startBackend(script: string, args: string[] = []): Promise<Backend> {
  const started = await startScript(script, args);
  return { ...started, address: `127.0.0.1:${started.words[0]}` };
}

function saying(bytes: Buffer | string) {
  return () => startBackend("replying.mjs", [Buffer.from(bytes).toString("hex")]);
}

describe.skipIf(!isLinux)("the shutdown of a backend that", () => {
  it.each<[what: string, prepare: () => Promise<Backend>]>([
    ["was killed", killed],
    ["is stopped", stopped],
    ["does not accept", full],
    ["accepts and says nothing", saying("")],
    ["never answers a call", () => startBackend("reporting.mjs", ["--answers", "0"])],
    ["speaks HTTP/1", saying("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")],
    ["sends whatever it likes", saying(Buffer.alloc(4096, "whatever"))],
    [
      "has an address that does not resolve",
      async () => ({ ...(await startBackend("reporting.mjs")), address: "no-such-host.invalid:1" }),
    ],
    ["has lost the file of its socket", withoutFile],
  ])("%s, is done", async (_what, prepare) => {
    await undisturbed(
      async ({ models, monitor, send }) => {
        const { pid, address } = await prepare();
        models.register({ name: "m", address, pid });
        const askedAt = performance.now();
        expect(await send("/backend/shutdown", json({ model: "m" }))).toMatchObject({
          status: 200,
          json: { message: "model stopped" },
        });
        expect(performance.now() - askedAt).toBeLessThan(SOON_MS);
        expect(isRunning(pid)).toBe(false);
        expect((await monitor("m")).json.error.type).toBe("model_not_loaded");
      },
      { freeTimeoutMs: FREE_TIMEOUT_MS },
    );
  });
});

async function killed(): Promise<Backend> {
  const backend = await startBackend("reporting.mjs");
  await end(backend.pid);
  return backend;
}

async function stopped(): Promise<Backend> {
  const backend = await startBackend("reporting.mjs");
  await freeze(backend.pid);
  return backend;
}

async function full(): Promise<Backend> {
  const options = JSON.stringify({ host: "127.0.0.1", port: 0, backlog: 1 });
  const backend = await startBackend("reporting.mjs", ["--listen", options]);
  await freeze(backend.pid);
  await Promise.all([queueUp(backend), queueUp(backend)]);
  return backend;
}

/** Until the backend's end. */
async function queueUp({ words }: Backend): Promise<Socket> {
  const socket = connect(Number(words[0]), "127.0.0.1").on("error", () => {});
  await once(socket, "connect");
  return socket;
}

async function withoutFile(): Promise<Backend> {
  const path = join(temporaryFolder(), "backend.sock");
  const backend = await startBackend("reporting.mjs", ["--listen", JSON.stringify({ path })]);
  rmSync(path);
  return { ...backend, address: `unix:${path}` };
}
