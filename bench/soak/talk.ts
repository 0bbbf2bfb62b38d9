/** How the soak talks to its host: orders, requests, and in a word what is answered. All that is said is counted. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { type Agent, type IncomingHttpHeaders, request } from "node:http";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import type { HostMessage, Order, OrderMessage, Orders } from "./host.js";

export const problems: string[] = [];
export const outcomes = new Map<string, number>();
export const events = new Map<string, number>();
export const count = (counts: Map<string, number>, what: string) =>
  counts.set(what, (counts.get(what) ?? 0) + 1);
export const sum = (counts: ReadonlyMap<string, number>) =>
  [...counts.values()].reduce((total, one) => total + one, 0);

// In a session of its own, Ctrl-C does not reach it: it ends all that it started when this process is gone.
export const host = fork(fileURLToPath(new URL("host.js", import.meta.url)), {
  execArgv: ["--expose-gc"],
  detached: true,
});
const replies = new Map<number, (message: { result?: unknown; error?: string }) => void>();
let orderId = 0;
host.on("message", (message: HostMessage) => {
  if ("problem" in message) problems.push(message.problem);
  else replies.get(message.id)?.(message);
});
host.on("exit", (code, signal) => {
  console.error(`the host ended with ${signal ?? code}`);
  process.exit(1);
});

export async function tell<O extends Order>(
  order: O,
  argument: Parameters<Orders[O]>[0],
): Promise<Awaited<ReturnType<Orders[O]>>> {
  const id = orderId++;
  const replied = new Promise<{ result?: unknown; error?: string }>((resolve) => replies.set(id, resolve));
  host.send({ id, order, argument } satisfies OrderMessage);
  const { result, error } = await replied;
  replies.delete(id);
  if (error !== undefined) throw new Error(`${order}: ${error}`);
  return result as Awaited<ReturnType<Orders[O]>>;
}

/** The router's default, for a backend to answer. */
export const DEADLINE_MS = 2_000;

export const REPORTED = "memory";
export const SAMPLED = "sampled: 2 after UNIMPLEMENTED";
export const HANGS = "sampled: -1 after DEADLINE_EXCEEDED";
export const NEITHER = "500 backend_error";
export const NOT_LOADED = "500 model_not_loaded";
export const STOPPED = "stopped";
/** What a monitor may answer while something is being done to the model. */
export const ON_THE_WAY = /^(memory|sampled: (2|-1) after [A-Z_]+|500 backend_error|500 model_not_loaded)$/;

export interface Sent {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  agent?: Agent;
}

const port = await tell("port", undefined);

export function open(path: string, { method = "GET", headers = {}, body, agent }: Sent = {}) {
  const length = body === undefined ? {} : { "content-length": `${Buffer.byteLength(body)}` };
  return request({
    host: "127.0.0.1",
    port,
    path,
    method,
    headers: { ...length, ...headers },
    agent: agent ?? false,
  });
}

/** Sends a request, and counts and returns in a word what is answered. */
export async function send(path: string, sent: Sent = {}): Promise<string> {
  let outcome: string;
  try {
    const [response] = await once(open(path, sent).end(sent.body), "response");
    outcome = outcomeOf(response.statusCode, response.headers, await text(response));
  } catch (error) {
    outcome = `no answer: ${error}`;
  }
  count(outcomes, outcome);
  return outcome;
}

export function outcomeOf(status: number, headers: IncomingHttpHeaders, body: string): string {
  if (status === 404) return "404";
  const isJson = headers["content-type"] === "application/json; charset=utf-8";
  if (!isJson || headers["cache-control"] !== "no-store") return `wrong headers of a ${status}`;
  if (status === 200 && body === '{"message":"model stopped"}') return STOPPED;
  if (status === 200 && body === '{"state":2,"memory":{"total":300,"breakdown":{"weights":300}}}')
    return REPORTED;
  const json = JSON.parse(body);
  if (status === 200 && isSample(json)) return `sampled: ${json.state} after ${json.status_error.code}`;
  const { code, message, type } = json.error ?? {};
  return code === status && typeof message === "string"
    ? `${status} ${type}`
    : `malformed ${status}: ${body}`;
}

// biome-ignore lint/suspicious/noExplicitAny: what it is, is to be found out
function isSample({ state, memory, memory_info, memory_percent, cpu_percent, status_error }: any): boolean {
  const { anonymous, file, shared } = memory.breakdown;
  return (
    Number.isInteger(state) &&
    memory.total > 0 &&
    memory.total === memory_info.rss &&
    memory.total === anonymous + file + shared &&
    memory_info.vms > memory_info.rss &&
    memory_percent > 0 &&
    (cpu_percent === null || cpu_percent >= 0) &&
    typeof status_error.message === "string"
  );
}

export const JSON_TYPE = { "content-type": "application/json" };
export const post = (body: object) => ({ method: "POST", headers: JSON_TYPE, body: JSON.stringify(body) });

export function monitor(name: string, agent?: Agent, random = () => 0): Promise<string> {
  const path = random() < 0.5 ? "/backend/monitor" : "/v1/backend/monitor";
  const sent = agent ? { agent } : {};
  return random() < 0.8
    ? send(`${path}?model=${encodeURIComponent(name)}`, sent)
    : send(path, { ...post({ model: name }), method: "GET", ...sent });
}
