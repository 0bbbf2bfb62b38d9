import { withDeadline } from "../deadline.js";
import type { LoadedModel } from "../model.js";
import { BackendCallError, type BackendClient, type BackendClientFactory } from "./client.js";

interface Connection {
  readonly address: string;
  readonly client: BackendClient;
}

/** The clients of all models by name: one each, made when it is first needed and kept. */
export class Connections {
  readonly #createClient: BackendClientFactory;
  readonly #connections = new Map<string, Connection>();

  constructor(createClient: BackendClientFactory) {
    this.#createClient = createClient;
  }

  /** The client for a model's backend; a new one where the backend's address is another one now. */
  open(name: string, model: LoadedModel): BackendClient {
    const existing = this.#connections.get(name);
    if (existing?.address === model.address) return existing.client;
    this.close(name);
    const client = this.#createClient(model);
    this.#connections.set(name, { address: model.address, client });
    return client;
  }

  has(name: string): boolean {
    return this.#connections.has(name);
  }

  get size(): number {
    return this.#connections.size;
  }

  get names(): string[] {
    return [...this.#connections.keys()];
  }

  close(name: string): void {
    const connection = this.#connections.get(name);
    this.#connections.delete(name);
    try {
      connection?.client.close();
    } catch {
      // A host's own client that can't be closed is no reason to fail what is under way.
    }
  }
}

/** Makes a call that a backend has `timeoutMs` to answer, whether or not its client takes notice of the signal. */
export function callBackend<T>(
  timeoutMs: number,
  call: (signal: AbortSignal) => Promise<T>,
  hurry?: AbortSignal,
): Promise<T> {
  const expired = () => new BackendCallError("DEADLINE_EXCEEDED", "the backend did not answer in time");
  return withDeadline(timeoutMs, call, expired, hurry);
}
