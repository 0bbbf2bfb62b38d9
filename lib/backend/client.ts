import { isIP } from "node:net";
import {
  ChannelCredentials,
  type ChannelOptions,
  Client,
  connectivityState,
  Metadata,
  type MethodDefinition,
  type ServiceError,
  status as statusCodes,
} from "@grpc/grpc-js";
import type { LoadedModel } from "../model.js";
import { bearerToken, checkOptions, functionWith, type OptionCheck } from "../options.js";
import type { BackendService } from "./service.js";
import type { BackendStatus } from "./status.js";

/**
 * The calls that the monitor makes to one backend. Each is given a signal that is aborted at its deadline,
 * and rejects where the call fails: best with a {@link BackendCallError}, but any error will do.
 *
 * ```ts
 * const client: BackendClient = {
 *   status: async (signal) => {
 *     const answer = await fetch("http://127.0.0.1:9000/status", { signal });
 *     if (!answer.ok) throw new BackendCallError("UNAVAILABLE", `it answers ${answer.status}`);
 *     return { state: BackendState.READY, memory: { total: 1024n, breakdown: {} } };
 *   },
 *   health: async () => true,
 *   free: async () => {},
 *   close: () => {},
 * };
 * app.use(createBackendMonitorRouter({ registry, createClient: () => client }));
 * ```
 */
export interface BackendClient {
  /** The backend's `Status`. */
  status(signal: AbortSignal): Promise<BackendStatus>;
  /** The backend's `Health`: whether it replied `OK`. */
  health(signal: AbortSignal): Promise<boolean>;
  /** The backend's `Free`: it lets go of the model's memory. */
  free(signal: AbortSignal): Promise<void>;
  /** Closes the connection; calls that are under way may still end. */
  close(): void;
}

/** Makes the client for one model. It is called once a model, and the client is kept for as long as its address is the same. */
export type BackendClientFactory = (model: LoadedModel) => BackendClient;

export const clientFactory: OptionCheck = {
  takes: "a function of one argument, the model, such as grpcBackendClient() returns",
  // Express handlers have three: a guard in the wrong place would only be noticed at the first request.
  ...functionWith(1, grpcBackendClient),
};

/** Options of {@link grpcBackendClient}. */
export interface GrpcBackendClientOptions {
  /** Sent with each call as the metadata `authorization: Bearer <token>`. Default: none is sent. */
  token?: string | undefined;
  /** For TLS: `credentials.createSsl(…)` of `@grpc/grpc-js`. Default: a connection in plain text. */
  credentials?: ChannelCredentials | undefined;
}

/** A call that failed: the name of its gRPC status (`UNIMPLEMENTED`, `UNAVAILABLE`, …) and what was said. */
export class BackendCallError extends Error {
  /** Always `"BackendCallError"`. */
  override readonly name = "BackendCallError";
  /** The name of a gRPC status: https://grpc.io/docs/guides/status-codes/ */
  readonly code: string;

  /**
   * For a client of the host's own.
   *
   * @param code the name of a gRPC status, such as `UNAVAILABLE`. `UNIMPLEMENTED` has the monitor ask for `Health` instead.
   * @param message what was said; of a message with several lines an answer shows the first.
   * @param options `cause`: the error that this one was made from.
   */
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** Takes whatever a client rejected with. gRPC's own errors have the number of the status in `code`. */
  static from(error: unknown): BackendCallError {
    if (error instanceof BackendCallError) return error;
    const { code, details, message } = Object(error) as Partial<Omit<ServiceError, "code">> & {
      code?: unknown;
    };
    const name = typeof code === "number" ? statusCodes[code] : code;
    const isStatus = typeof name === "string" && Object.hasOwn(statusCodes, name);
    // gRPC leaves the label of an empty note at the end of what went wrong while connecting.
    const said = String(details || message || error).replace(/\.? Resolution note: *$/, "");
    return new BackendCallError(isStatus ? name : "UNKNOWN", said, { cause: error });
  }
}

/** A call of `Status` that was not made, since the server is known to have none. */
export class StatusMissingError extends BackendCallError {
  constructor(said: string) {
    super("UNIMPLEMENTED", said);
  }
}

/**
 * After a call that found nobody or got no answer in time, the channel is replaced at the next call: gRPC's
 * own pauses between attempts to connect grow to two minutes, and a connection whose other end vanished
 * without a word looks sound for longer. This is the shortest time between two channels, so that a backend
 * that is down costs no more than four attempts a second however often it is asked for.
 */
const REDIAL_MS = 250;

/**
 * The same for a channel that may still be waiting for a name server. To give up a look-up is not to end it: those that go
 * on wait in the one queue of Node, and with them those of all other models. So long a server that says nothing is asked.
 */
const LOOK_UP_MS = 10_000;

/**
 * A server that has no `Status` has none for as long as it runs, and so for as long as the connection to it holds: it is not
 * asked again. But not for ever, as what is connected to may be a proxy.
 */
const MISSING_HOLDS_MS = 10_000;

const CHANNEL_OPTIONS: ChannelOptions = {
  // A channel of our own connects anew; from gRPC's pool it would get the connection that just failed.
  "grpc.use_local_subchannel_pool": 1,
  // No retries behind our back: they would hide a failure for longer than its deadline.
  "grpc.enable_retries": 0,
  // Backends are near; the proxy of the environment is for the way out.
  "grpc.enable_http_proxy": 0,
  // Backends publish no service configuration in DNS.
  "grpc.service_config_disable_resolution": 1,
};

interface Channel {
  readonly client: Client;
  readonly openedAt: number;
  /** How many calls are under way. */
  calls: number;
  /** How old it has to be to be replaced: the last call to end found nobody, or got no answer. */
  redialMs?: number | undefined;
  /** What a server that has no `Status` said to it. */
  missing?: { readonly said: string; readonly since: number } | undefined;
}

/**
 * Makes the factory that ships: clients on `@grpc/grpc-js`, one channel a model.
 *
 * ```ts
 * import { credentials } from "@grpc/grpc-js";
 *
 * const createClient = grpcBackendClient({ token: "s3cret", credentials: credentials.createSsl() });
 * app.use(createBackendMonitorRouter({ registry, createClient }));
 * ```
 *
 * @throws {TypeError} where an option is not what it takes.
 */
export function grpcBackendClient(options: GrpcBackendClientOptions = {}): BackendClientFactory {
  checkOptions("grpcBackendClient", options, {
    token: bearerToken,
    credentials: {
      takes: "channel credentials of the same @grpc/grpc-js that this package uses",
      accepts: (value) => value instanceof ChannelCredentials,
    },
  });
  // It is the host's start, most likely. What fails to load is never tried again: a busy host may lack file descriptors later.
  loadService().catch(() => {});
  const credentials = options.credentials ?? ChannelCredentials.createInsecure();
  const metadata = new Metadata();
  if (options.token !== undefined) metadata.set("authorization", `Bearer ${options.token}`);
  return (model) => connect(model.address, credentials, metadata);
}

/** What it stands on, google-protobuf, takes long to load: that is not for the import of the package. */
function loadService(): Promise<BackendService> {
  service ??= import("./service.js").then(({ backendService }) => backendService);
  return service;
}
let service: Promise<BackendService> | undefined;

function connect(address: string, credentials: ChannelCredentials, metadata: Metadata): BackendClient {
  let current: Channel | undefined;
  let closed = false;

  function acquire(): Channel {
    const redialMs = current?.redialMs ?? Number.POSITIVE_INFINITY;
    if (current && performance.now() - current.openedAt >= redialMs) retire(current);
    current ??= {
      client: new Client(address, credentials, CHANNEL_OPTIONS),
      openedAt: performance.now(),
      calls: 0,
    };
    current.calls++;
    return current;
  }

  function release(channel: Channel): void {
    channel.calls--;
    if (channel.calls === 0 && channel !== current) channel.client.close();
  }

  /** Calls that are under way on it may still end. */
  function retire(channel: Channel): void {
    if (channel === current) current = undefined;
    if (channel.calls === 0) channel.client.close();
  }

  async function status(signal: AbortSignal): Promise<BackendStatus> {
    const missing = current?.missing;
    if (current && missing && performance.now() - missing.since < MISSING_HOLDS_MS && isConnected(current)) {
      throw new StatusMissingError(missing.said);
    }
    return call((service) => service.status, signal);
  }

  function mayBeLookingUp(channel: Channel): boolean {
    return hasHostName(address) && !isConnected(channel);
  }

  async function call<Response>(
    methodOf: (service: BackendService) => MethodDefinition<object, Response>,
    signal: AbortSignal,
  ): Promise<Response> {
    const service = await loadService();
    const method = methodOf(service);
    return new Promise((resolve, reject) => {
      if (closed) throw new BackendCallError("CANCELLED", "the connection to the backend was closed");
      signal.throwIfAborted();
      const channel = acquire();
      // What it connects to anew may be another server.
      if (!isConnected(channel)) channel.missing = undefined;
      const onReply = (error: ServiceError | null, response?: Response) => {
        signal.removeEventListener("abort", onAbort);
        if (signal.aborted) channel.redialMs = mayBeLookingUp(channel) ? LOOK_UP_MS : REDIAL_MS;
        else channel.redialMs = error?.code === statusCodes.UNAVAILABLE ? REDIAL_MS : undefined;
        if (channel.redialMs) channel.missing = undefined;
        release(channel);
        if (!error) return resolve(response as Response);
        const failure = BackendCallError.from(error);
        if (error.code === statusCodes.UNIMPLEMENTED && method.path === service.status.path) {
          // Not the error itself: kept for each model, its stack would be most of what a model costs.
          channel.missing = { said: failure.message, since: performance.now() };
        }
        reject(failure);
      };
      const onAbort = () => underWay.cancel();
      const underWay = channel.client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        {},
        metadata,
        onReply,
      );
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  return {
    status,
    health: async (signal) => OK.equals((await call((service) => service.health, signal)).message),
    free: async (signal) => {
      const { success, message } = await call((service) => service.free, signal);
      if (!success) throw new BackendCallError("UNKNOWN", `Free did not succeed: ${message}`);
    },
    close: () => {
      closed = true;
      if (current) retire(current);
    },
  };
}

function isConnected({ client }: Channel): boolean {
  return client.getChannel().getConnectivityState(false) === connectivityState.READY;
}

/** Whether a gRPC target has a name that a name server is asked for. */
function hasHostName(target: string): boolean {
  const [, host = ""] = /^(?:dns:(?:\/\/[^/]*\/)?)?(.*?)(?::\d+)?$/.exec(target) ?? [];
  return !/^unix:|^(ipv4|ipv6):|^\[|^localhost$/.test(host) && isIP(host) === 0;
}

const OK = Buffer.from("OK");
