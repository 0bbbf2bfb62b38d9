import { withDeadline } from "../deadline.js";
import type { LoadedModel } from "../registry/registry.js";
import { BackendCallError, type BackendClient, type BackendClientFactory } from "./client.js";

interface Connection {
  readonly address: string;
  readonly client: BackendClient;
}

/** The clients of all models: one each, made at the first call and kept. */
export class Connections {
  readonly #createClient: BackendClientFactory;
  readonly #connections = new Map<string, Connection>();

  constructor(createClient: BackendClientFactory) {
    this.#createClient = createClient;
  }

  /** Makes a call to a model's backend, which has `timeoutMs` to answer. Whatever fails, the promise rejects. */
  call<T>(
    model: LoadedModel,
    timeoutMs: number,
    method: (client: BackendClient, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return withDeadline(
      timeoutMs,
      (signal) => method(this.#connect(model), signal),
      () => new BackendCallError("DEADLINE_EXCEEDED", "the backend did not answer in time"),
    );
  }

  get size(): number {
    return this.#connections.size;
  }

  get names(): string[] {
    return [...this.#connections.keys()];
  }

  /** Closes a model's connection. The next call opens a new one. */
  close(name: string): void {
    const connection = this.#connections.get(name);
    this.#connections.delete(name);
    connection?.client.close();
  }

  #connect(model: LoadedModel): BackendClient {
    const existing = this.#connections.get(model.name);
    if (existing?.address === model.address) return existing.client;
    this.close(model.name);
    const client = this.#createClient(model);
    this.#connections.set(model.name, { address: model.address, client });
    return client;
  }
}
