import assert from "node:assert/strict";
import type { Answer } from "./exchange.js";

/** The types of errors that CONTRACT.md lists, with the statuses they come with. */
const STATUSES: Record<string, number[]> = {
  invalid_request_error: [400, 401, 405, 413, 415],
  model_not_loaded: [500],
  model_busy: [500],
  backend_error: [500],
  internal_error: [500],
};

/** What Node's server refuses by itself: not HTTP, an Expect that it does not know, too many header lines. */
const FROM_NODE = [400, 417, 431];

/** What an answer is, in two words; throws where it is nothing that the contract knows. */
export function classify(answer: Answer | undefined, isHead: boolean): string {
  if (!answer) return "no answer";
  const { status, headers, body, bodyBytes } = answer;
  if (headers["x-host"]) {
    const marks = ["content-type", "cache-control", "allow", "www-authenticate"].filter(
      (name) => headers[name],
    );
    assert.deepEqual(marks, [], "the router left its mark on what is the host's");
    return `${status} host`;
  }
  if (/^(0\r\n\r\n)?$/.test(body) && !headers["content-type"]) {
    assert(FROM_NODE.includes(status));
    return `${status} Node`;
  }
  assert.deepEqual(headers["content-type"], ["application/json; charset=utf-8"]);
  assert.deepEqual(headers["cache-control"], ["no-store"]);
  assert.equal(headers.etag, undefined);
  if (isHead) {
    assert.match(headers["content-length"]?.join() ?? "", /^[1-9]\d*$/);
    // Only an answer to what came after the request may follow.
    assert.match(answer.rest, /^(HTTP|$)/);
    return `${status} HEAD`;
  }
  assert.deepEqual(headers["content-length"], [`${bodyBytes}`]);
  const json = JSON.parse(body);
  return status === 200 ? classifySuccess(json) : classifyError(status, json, headers);
}

function classifySuccess(json: Record<string, unknown>): string {
  if (json.message !== undefined) {
    assert.deepEqual(json, { message: "model stopped" });
    return "200 stopped";
  }
  const { state, memory, ...rest } = json as unknown as Monitored;
  assert(Number.isInteger(state));
  assert.deepEqual(Object.keys(memory), ["total", "breakdown"]);
  const parts = Object.values(memory.breakdown);
  if (Object.keys(rest).length === 0) {
    assert([memory.total, ...parts].every((bytes) => bytes >= 0));
    return "200 reported";
  }
  const { memory_info, memory_percent, cpu_percent, status_error } = rest;
  assert.deepEqual(Object.keys(rest).slice(0, 3), ["memory_info", "memory_percent", "cpu_percent"]);
  assert.deepEqual(Object.keys(memory_info), ["rss", "vms"]);
  assert.equal(memory.total, memory_info.rss);
  for (const figure of [memory_info.rss, memory_info.vms, memory_percent, cpu_percent]) {
    assert(figure === null || figure >= 0);
  }
  if (memory.total !== null) {
    const sum = parts.reduce((total, part) => total + part, 0);
    assert.equal(sum, memory.total);
  }
  if (!status_error) return "200 sampled";
  assert.deepEqual(Object.keys(status_error), ["code", "message"]);
  assert.match(status_error.code, /^[A-Z_]+$/);
  assertShowable(status_error.message);
  return "200 fallback";
}

interface Monitored {
  state: number;
  memory: { total: number; breakdown: Record<string, number> };
  memory_info: { rss: number; vms: number };
  memory_percent: number;
  cpu_percent: number;
  status_error?: { code: string; message: string };
}

function classifyError(status: number, json: unknown, headers: Answer["headers"]): string {
  const { error } = json as { error: { code: number; message: string; type: string } };
  assert.deepEqual(json, { error: { code: status, message: error.message, type: error.type } });
  assert(STATUSES[error.type]?.includes(status), `${status} ${error.type} is not listed`);
  assertShowable(error.message);
  assert.equal(headers["www-authenticate"]?.join(), status === 401 ? "Bearer" : undefined);
  if (status !== 405) assert.equal(headers.allow, undefined);
  return `${status} ${error.type}`;
}

/** No stack, no path of the host, nothing unescaped. */
function assertShowable(message: string): void {
  assert.equal(typeof message, "string");
  assert.doesNotMatch(message, /[\p{C}\p{Zl}\p{Zp}<>&]|secret|node_modules|file:|\bat \S+:\d|^$/u);
  assert(!message.includes(process.cwd()));
}
