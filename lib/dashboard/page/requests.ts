/** What is asked of the server besides the stream. All addresses are relative: the page may be mounted anywhere. */
import type { History, Problem, ShutdownOutcomes } from "./api.js";

/** A server that answered, and not with what was asked for. Its message is for the reader of the page. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const UNREACHABLE = "the server can't be reached";
const NOT_THE_SERVER = "something else answers in its place; perhaps you have to sign in again";

/** Which models to stop, and whether to wait for those that are busy. */
export interface StopOrder {
  readonly models: readonly string[];
  readonly force: boolean;
}

export async function fetchHistory(model: string, signal: AbortSignal): Promise<History> {
  const response = await ask(`api/history?model=${encodeURIComponent(model)}`, { signal });
  return response.json();
}

/** Resolves when all of them are stopped, or could not be. */
export async function requestStop(order: StopOrder): Promise<ShutdownOutcomes> {
  const headers = { "Content-Type": "application/json" };
  const response = await ask("api/backends/shutdown", {
    method: "POST",
    headers,
    body: JSON.stringify(order),
  });
  return response.json();
}

export async function openLog(model: string, signal: AbortSignal): Promise<ReadableStream<BufferSource>> {
  const response = await ask(`api/logs?model=${encodeURIComponent(model)}&follow=true`, { signal });
  return response.body ?? new ReadableStream();
}

/** Why the stream is refused: an EventSource does not tell. `undefined` where it is not, or not any more. */
export async function whyRefused(): Promise<Refusal | undefined> {
  const request = new AbortController();
  try {
    const { headers, status } = await ask("api/events", { signal: request.signal });
    const isStream = headers.get("Content-Type")?.startsWith("text/event-stream");
    return isStream ? undefined : new Refusal(status, NOT_THE_SERVER);
  } catch (error) {
    return error instanceof Refusal ? error : undefined;
  } finally {
    request.abort();
  }
}

/** What to tell of anything that was thrown on the way. */
export function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  // No JSON.
  return error instanceof SyntaxError ? NOT_THE_SERVER : UNREACHABLE;
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, { cache: "no-store", ...init });
  if (!response.ok) throw await refusalOf(response);
  return response;
}

async function refusalOf(response: Response): Promise<Refusal> {
  const { status } = response;
  const said = await response
    .json()
    .then((body: { error?: Partial<Problem> } | null) => body?.error?.message)
    .catch(() => undefined);
  return new Refusal(status, explain(status, typeof said === "string" ? said : undefined));
}

function explain(status: number, said: string | undefined): string {
  const details = said ? `: ${said}` : "";
  if (status === 401) return `you are not signed in, or no longer (401)${details}`;
  if (status === 403) return `you may not do that here (403)${details}`;
  return said ?? `the server answered ${status}`;
}
