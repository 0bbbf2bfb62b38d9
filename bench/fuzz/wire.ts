import assert from "node:assert/strict";
import { BackendCallError, type BackendStatus, grpcBackendClient } from "express-backend-monitor";
import { classify } from "./answers.js";
import { REPORT } from "./backend.js";
import { type Answer, exchange } from "./exchange.js";
import { isSound, type WireConnection } from "./frames.js";
import type { Host } from "./host.js";
import { openChannels } from "./left.js";
import { decode, PROTO_STAND_IN, type WireMessages } from "./messages.js";
import { TOKEN } from "./requests.js";

interface Reported {
  state: number;
  memory: Memory | null;
}

/** Byte counts as text, as JavaScript has no numbers for all of them. */
interface Memory {
  total: string;
  breakdown: Record<string, string>;
}

/** The one model whose backend is made of bytes. */
export const MODEL = "wire";

const BUSY = 1;

/** The client by itself, and the router with it, have to make of these bytes what `protobufjs` makes of them. */
export async function checkMessages(
  { replies, hasProcess }: WireMessages,
  address: string,
  host: Host,
): Promise<string> {
  const expected = {
    status: replies.Status && decode<Reported>("Status", replies.Status),
    health: replies.Health && decode<{ message: Buffer }>("Health", replies.Health),
    freed: replies.Free && decode<{ message: string; success: boolean }>("Free", replies.Free),
  };
  const client = grpcBackendClient()({ name: MODEL, address });
  const { signal } = new AbortController();
  try {
    const status = await ask(client.status(signal), expected.status, replies.Status);
    if (status) assert.deepEqual(reported(status), expected.status && comparable(expected.status));
    const isHealthy = await ask(client.health(signal), expected.health, replies.Health);
    assert.equal(isHealthy, expected.health && expected.health.message.toString("latin1") === "OK");
    await checkFree(client.free(signal), expected.freed, replies.Free);
  } finally {
    client.close();
  }

  const answer = await monitor(host, MODEL);
  const what = classify(answer, false);
  if (!expected.status) {
    assert.equal(what, hasProcess ? "200 fallback" : "500 backend_error");
    const isHealthy = !replies.Status && expected.health?.message.toString("latin1") === "OK";
    if (hasProcess) assert.equal(JSON.parse(answer?.body ?? "").state, isHealthy ? 2 : -1);
  } else {
    assert.equal(what, hasMemory(expected.status) ? "200 reported" : "200 sampled");
    const json = JSON.parse(withTextForNumbers(answer?.body ?? ""));
    assert.equal(json.state, `${expected.status.state}`);
    if (what === "200 reported") {
      assert.deepEqual(plain(json.memory), comparable(expected.status).memory);
    }
  }
  const stopped = await shutDown(host, false);
  assert.equal(stopped, expected.status?.state === BUSY ? "500 model_busy" : "200 stopped");
  if (stopped === "200 stopped") {
    assert(!openChannels().includes(address), "the channel of a model that was stopped is open");
    await assertNotLoaded(host);
  }
  return what;
}

/** Whatever comes on its connection, the router answers in time, and stops the model. */
export async function checkConnection(connection: WireConnection, host: Host): Promise<string> {
  const { hasProcess, force, atOnce } = connection;
  const monitoring = monitor(host, MODEL);
  if (!atOnce) await monitoring;
  const [answer, stopped] = await Promise.all([monitoring, shutDown(host, force)]);

  const what = classify(answer, false);
  const answers = [hasProcess ? "200 fallback" : "500 backend_error", "200 reported", "200 sampled"];
  if (atOnce) answers.push("500 model_not_loaded");
  assert(answers.includes(what), what);
  // The deadline is short, and a machine may be busy.
  const isLate = answer?.body.includes("DEADLINE_EXCEEDED");
  if (isSound(connection) && !atOnce && !isLate) assert.equal(answer?.body, REPORT.json);

  assert((force ? ["200 stopped"] : ["200 stopped", "500 model_busy"]).includes(stopped), stopped);
  if (stopped === "200 stopped") await assertNotLoaded(host);
  return what;
}

async function shutDown(host: Host, force: boolean): Promise<string> {
  const body = JSON.stringify({ model: MODEL, force });
  const head = `Content-Type: application/json\r\nContent-Length: ${body.length}`;
  const sent = `POST /backend/shutdown HTTP/1.1\r\nHost: localhost\r\n${head}\r\n\r\n${body}`;
  return classify(await exchange(host.port, Buffer.from(sent)), false);
}

async function assertNotLoaded(host: Host): Promise<void> {
  assert.equal(classify(await monitor(host, MODEL), false), "500 model_not_loaded");
}

export function monitor(host: Host, model: string): Promise<Answer | undefined> {
  const target = `/backend/monitor?model=${encodeURIComponent(model)}`;
  const head = `GET ${target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`;
  return exchange(host.port, Buffer.from(head));
}

/** What a call comes to: it has to fail where there is nothing that could be expected of it. */
async function ask<T>(
  call: Promise<T>,
  expected: unknown,
  bytes: Uint8Array | undefined,
): Promise<T | undefined> {
  try {
    const reply = await call;
    assert(expected, "what is no message was read as one");
    return reply;
  } catch (error) {
    assert(error instanceof BackendCallError, error as Error);
    assert(!expected, error);
    assert.equal(error.code === "UNIMPLEMENTED", bytes === undefined);
    return undefined;
  }
}

async function checkFree(
  call: Promise<void>,
  expected: { message: string; success: boolean } | undefined,
  bytes: Uint8Array | undefined,
): Promise<void> {
  if (!expected || expected.success) await ask(call, expected, bytes);
  else await assert.rejects(call, { message: `Free did not succeed: ${expected.message}` });
}

function reported({ state, memory }: BackendStatus) {
  if (!memory) return { state, memory: null };
  const breakdown = Object.entries(memory.breakdown).map(([part, bytes]) => [part, `${bytes}`]);
  return comparable({
    state,
    memory: { total: `${memory.total}`, breakdown: Object.fromEntries(breakdown) },
  });
}

function comparable({ state, memory }: Reported): Reported {
  return { state, memory: memory && plain(memory) };
}

function plain({ total, breakdown }: Memory): Memory {
  const parts = Object.entries(breakdown).map(([part, bytes]) => [
    part === "__proto__" ? PROTO_STAND_IN : part,
    bytes,
  ]);
  return { total, breakdown: Object.fromEntries(parts) };
}

function hasMemory({ memory }: Reported): boolean {
  return !!memory && (memory.total !== "0" || Object.keys(memory.breakdown).length > 0);
}

/** A number in JSON may have more digits than one of JavaScript's. */
function withTextForNumbers(json: string): string {
  return json.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.e+-]*/g, (token) =>
    token.startsWith('"') ? token : `"${token}"`,
  );
}
