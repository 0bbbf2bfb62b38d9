import { setTimeout as delay } from "node:timers/promises";
import { BackendCallError, type BackendClientFactory } from "../backend/client.js";
import { Connections, callBackend } from "../backend/connections.js";
import { withDeadline } from "../deadline.js";
import { quote } from "../message.js";
import type { LoadedModel } from "../model.js";
import { isListening, onThisMachine } from "../process/address.js";

/** How often a backend that is starting is asked for its health, and how long it may take to answer. */
const HEALTH_POLL_MS = 50;
const HEALTH_TIMEOUT_MS = 2_000;

interface HealthOptions {
  readonly createClient: BackendClientFactory;
  readonly timeoutMs: number;
  /** Resolves when the backend's process ends. */
  readonly ended: Promise<unknown>;
  readonly signal: AbortSignal;
}

/**
 * Resolves once a backend's `Health` says `OK`.
 *
 * @throws where it does not in time, its process ends, or the signal is aborted.
 */
export async function untilHealthy(
  model: LoadedModel,
  { createClient, timeoutMs, ended, signal }: HealthOptions,
): Promise<void> {
  const over = new AbortController();
  const onAbort = () => over.abort(signal.reason);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  void ended.then(() => over.abort(new Error("its process ended")));

  const isLocal = onThisMachine(model.address) !== undefined;
  let health = `nothing listens at ${quote(model.address)}`;
  const connections = new Connections(createClient);
  const poll = async (isOver: AbortSignal) => {
    const client = connections.open(model.name, model);
    for (; ; await delay(HEALTH_POLL_MS, undefined, { signal: isOver })) {
      // After a refused connection gRPC takes a rest; this asks without one.
      if (isLocal && !(await isListening(model.address))) continue;
      try {
        if (await callBackend(HEALTH_TIMEOUT_MS, (until) => client.health(until), isOver)) return;
        health = "its Health does not reply OK";
      } catch (error) {
        const { code, message } = BackendCallError.from(error);
        health = `its Health call fails (${code}: ${message})`;
      }
    }
  };
  const late = () => new Error(`it was not ready within ${timeoutMs} ms: ${health}`);
  try {
    await withDeadline(timeoutMs, poll, late, over.signal);
    over.signal.throwIfAborted();
  } finally {
    signal.removeEventListener("abort", onAbort);
    connections.close(model.name);
  }
}
