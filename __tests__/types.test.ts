// What the package's users compile against: its built declarations. All of this is checked by `tsc -p __tests__`.
import type { EventEmitter } from "node:events";
import type { ChannelCredentials } from "@grpc/grpc-js";
import type { RequestHandler, Router } from "express";
import type * as api from "express-backend-monitor";
import { describe, expectTypeOf, it } from "vitest";

/** What is public of a class, beside what it has of another. */
type Own<Class, Base = unknown> = Omit<Class, keyof Base>;

describe("the types of express-backend-monitor", () => {
  it("are these of the values", () => {
    expectTypeOf<typeof api.BackendState>().toEqualTypeOf<{
      readonly UNINITIALIZED: 0;
      readonly BUSY: 1;
      readonly READY: 2;
      readonly ERROR: -1;
    }>();
    expectTypeOf<typeof api.basicAuth>().toEqualTypeOf<
      (users: Readonly<Record<string, string>>) => RequestHandler
    >();
    expectTypeOf<typeof api.bearerAuth>().toEqualTypeOf<(tokens: readonly string[]) => RequestHandler>();
    expectTypeOf<typeof api.createBackendMonitorRouter>().toEqualTypeOf<
      (options: api.BackendMonitorRouterOptions | api.SharedMonitorRouterOptions) => Router
    >();
    expectTypeOf<typeof api.openApiDocument>().toEqualTypeOf<() => api.OpenApiDocument>();
    expectTypeOf<typeof api.grpcBackendClient>().toEqualTypeOf<
      (options?: api.GrpcBackendClientOptions) => api.BackendClientFactory
    >();
  });

  it("are these of options", () => {
    interface MonitorOptions {
      registry: api.ModelRegistry;
      createClient?: api.BackendClientFactory | undefined;
      statusTimeoutMs?: number | undefined;
      drainTimeoutMs?: number | undefined;
      freeTimeoutMs?: number | undefined;
      terminateTimeoutMs?: number | undefined;
      logger?: api.Logger | undefined;
    }
    interface GuardOptions {
      authorize?: RequestHandler | readonly RequestHandler[] | undefined;
      allowedHosts?: readonly string[] | undefined;
    }
    interface RouterOptions extends MonitorOptions, GuardOptions {}
    interface SharedMonitorOptions extends GuardOptions {
      monitor: api.BackendMonitor;
    }
    expectTypeOf<api.BackendMonitorOptions>().toEqualTypeOf<MonitorOptions>();
    expectTypeOf<api.GuardOptions>().toEqualTypeOf<GuardOptions>();
    expectTypeOf<api.BackendMonitorRouterOptions>().toEqualTypeOf<RouterOptions>();
    expectTypeOf<api.SharedMonitorRouterOptions>().toEqualTypeOf<SharedMonitorOptions>();
    expectTypeOf<api.Logger>().toEqualTypeOf<{
      info(message: string): unknown;
      error(message: string): unknown;
    }>();
    expectTypeOf<api.GrpcBackendClientOptions>().toEqualTypeOf<{
      token?: string | undefined;
      credentials?: ChannelCredentials | undefined;
    }>();
    expectTypeOf<api.ShutdownOptions>().toEqualTypeOf<{ force?: boolean | undefined }>();
    expectTypeOf<api.RegistryShutdownOptions>().toEqualTypeOf<{
      readonly force: boolean;
      readonly timeoutMs: number;
      readonly signal: AbortSignal;
    }>();
    expectTypeOf<api.Registration>().toEqualTypeOf<{
      name: string;
      address: string;
      pid?: number | undefined;
      stop?: ((options: api.RegistryShutdownOptions) => unknown) | undefined;
    }>();
    expectTypeOf<api.BackendSupervisorOptions>().toEqualTypeOf<{
      createClient?: api.BackendClientFactory | undefined;
    }>();
    expectTypeOf<api.StartOptions>().toEqualTypeOf<{
      name: string;
      command: string;
      args?: readonly string[] | undefined;
      env?: NodeJS.ProcessEnv | undefined;
      cwd?: string | undefined;
      address?: string | undefined;
      readyTimeoutMs?: number | undefined;
      restart?: api.RestartPolicy | undefined;
      signal?: AbortSignal | undefined;
    }>();
    expectTypeOf<api.RestartPolicy>().toEqualTypeOf<{
      maxRetries?: number | undefined;
      minDelayMs?: number | undefined;
      maxDelayMs?: number | undefined;
    }>();
  });

  it("are these of models, registries and clients", () => {
    expectTypeOf<api.LoadedModel>().toEqualTypeOf<{
      readonly name: string;
      readonly address: string;
      readonly pid?: number | undefined;
      readonly startTime?: number | undefined;
      readonly busy?: boolean | undefined;
    }>();
    expectTypeOf<api.ModelRegistry>().toEqualTypeOf<{
      get(name: string): api.LoadedModel | undefined | Promise<api.LoadedModel | undefined>;
      list(): readonly api.LoadedModel[] | Promise<readonly api.LoadedModel[]>;
      shutdown(name: string, options: api.RegistryShutdownOptions): unknown;
      cancelStart?(name: string, options: api.RegistryShutdownOptions): unknown;
      logs?(name: string): string | undefined | Promise<string | undefined>;
      followLogs?(name: string, signal: AbortSignal): AsyncIterable<string> | undefined;
    }>();
    expectTypeOf<api.BackendClientFactory>().toEqualTypeOf<(model: api.LoadedModel) => api.BackendClient>();
    expectTypeOf<api.BackendClient>().toEqualTypeOf<{
      status(signal: AbortSignal): Promise<api.BackendStatus>;
      health(signal: AbortSignal): Promise<boolean>;
      free(signal: AbortSignal): Promise<void>;
      close(): void;
    }>();
    expectTypeOf<api.BackendStatus>().toEqualTypeOf<{
      state: number;
      memory?: api.MemoryUsage | undefined;
    }>();
    expectTypeOf<api.MemoryUsage>().toEqualTypeOf<{ total: bigint; breakdown: Record<string, bigint> }>();
  });

  it("are these of answers", () => {
    expectTypeOf<api.MonitorAnswer>().toEqualTypeOf<{
      readonly state: number;
      readonly memory: {
        readonly total: bigint | null;
        readonly breakdown: Readonly<Record<string, bigint>>;
      };
      readonly memory_info?: { readonly rss: number | null; readonly vms: number | null };
      readonly memory_percent?: number | null;
      readonly cpu_percent?: number | null;
      readonly status_error?: { readonly code: string; readonly message: string };
    }>();
    expectTypeOf<api.ModelOverview>().toEqualTypeOf<{
      readonly name: string;
      readonly address: string;
      readonly pid: number | null;
      readonly loaded_since: string | null;
      readonly status?: api.MonitorAnswer;
      readonly error?: api.ErrorAnswer["error"];
      readonly process: api.ProcessCost | null;
      readonly shutdown: api.ShutdownPhase | null;
    }>();
    expectTypeOf<api.ProcessCost>().toEqualTypeOf<{
      readonly processes: number;
      readonly rss: number;
      readonly vms: number | null;
      readonly memory_percent: number;
      readonly cpu_percent: number | null;
      readonly cpu_seconds: number;
    }>();
    expectTypeOf<api.ErrorAnswer>().toEqualTypeOf<{
      error: { code: number; message: string; type: api.ErrorType };
    }>();
    expectTypeOf<api.ErrorType>().toEqualTypeOf<
      "invalid_request_error" | "model_not_loaded" | "model_busy" | "backend_error" | "internal_error"
    >();
  });

  it("are these of the description", () => {
    expectTypeOf<api.OpenApiDocument>().toEqualTypeOf<{
      openapi: string;
      info: {
        title: string;
        version: string;
        description: string;
        license: Record<"name" | "identifier", string>;
      };
      servers: { url: string; description?: string }[];
      tags: Record<"name" | "description", string>[];
      paths: Record<string, Record<string, api.OpenApiOperation>>;
      components: {
        schemas: Record<string, object>;
        responses: Record<string, Record<"description", string>>;
        headers: Record<string, object>;
        securitySchemes: Record<string, api.OpenApiSecurityScheme>;
      };
      security: Record<string, string[]>[];
    }>();
    expectTypeOf<api.OpenApiOperation>().toEqualTypeOf<{
      operationId: string;
      responses: Record<string, Record<"$ref", string> | Record<"description", string>>;
      [member: string]: unknown;
    }>();
    expectTypeOf<api.OpenApiSecurityScheme>().toEqualTypeOf<
      | { type: "http"; scheme: string; description?: string }
      | { type: "apiKey"; name: string; in: "cookie" | "header" | "query"; description?: string }
    >();
  });

  it("are these of BackendMonitor", () => {
    expectTypeOf<ConstructorParameters<typeof api.BackendMonitor>>().toEqualTypeOf<
      [options: api.BackendMonitorOptions]
    >();
    expectTypeOf<api.BackendMonitor>().toExtend<EventEmitter<api.BackendMonitorEvents>>();
    expectTypeOf<api.BackendMonitorEvents>().toEqualTypeOf<{
      shutdown: [api.ShutdownProgress];
      latency: [api.MonitorLatency];
    }>();
    expectTypeOf<api.ShutdownPhase>().toEqualTypeOf<"draining" | "freeing" | "terminating">();
    expectTypeOf<api.ShutdownProgress>().toEqualTypeOf<{
      readonly name: string;
      readonly phase: api.ShutdownPhase | "stopped" | "failed";
      readonly durationMs: number;
      readonly processes?: number | undefined;
      readonly error?: api.MonitorError | undefined;
    }>();
    expectTypeOf<api.MonitorLatency>().toEqualTypeOf<{
      readonly name: string;
      readonly source: "grpc" | "process";
      readonly durationMs: number;
    }>();
    expectTypeOf<Own<api.BackendMonitor, EventEmitter>>().toEqualTypeOf<{
      status(name: string): Promise<api.MonitorAnswer>;
      overview(): Promise<api.ModelOverview[]>;
      shutdown(name: string, options?: api.ShutdownOptions): Promise<void>;
      close(): void;
    }>();
  });

  it("are these of InMemoryModelRegistry", () => {
    expectTypeOf<ConstructorParameters<typeof api.InMemoryModelRegistry>>().toEqualTypeOf<[]>();
    expectTypeOf<api.InMemoryModelRegistry>().toExtend<api.ModelRegistry>();
    expectTypeOf<Own<api.InMemoryModelRegistry>>().toEqualTypeOf<{
      register(registration: api.Registration): void;
      unregister(name: string): boolean;
      get(name: string): api.LoadedModel | undefined | Promise<api.LoadedModel>;
      list(): Promise<api.LoadedModel[]>;
      shutdown(name: string, options?: Partial<api.RegistryShutdownOptions>): Promise<number | undefined>;
    }>();
  });

  it("are these of BackendSupervisor", () => {
    expectTypeOf<ConstructorParameters<typeof api.BackendSupervisor>>().toEqualTypeOf<
      [options?: api.BackendSupervisorOptions | undefined]
    >();
    expectTypeOf<api.BackendSupervisor>().toExtend<api.ModelRegistry & AsyncDisposable>();
    expectTypeOf<Own<api.BackendSupervisor, EventEmitter>>().toEqualTypeOf<{
      start(options: api.StartOptions): Promise<api.LoadedModel>;
      get(name: string): api.LoadedModel | undefined;
      list(): api.LoadedModel[];
      shutdown(name: string, options?: Partial<api.RegistryShutdownOptions>): Promise<number>;
      cancelStart(name: string, options?: Partial<api.RegistryShutdownOptions>): Promise<number>;
      shutdownAll(options?: Partial<api.RegistryShutdownOptions>): Promise<void>;
      logs(name: string): string | undefined;
      followLogs(name: string, signal: AbortSignal): AsyncIterable<string> | undefined;
      [Symbol.asyncDispose](): Promise<void>;
    }>();
  });

  it("are these of events", () => {
    expectTypeOf<api.BackendSupervisor>().toExtend<EventEmitter<api.BackendSupervisorEvents>>();
    expectTypeOf<api.BackendSupervisorEvents>().toEqualTypeOf<{
      exit: [api.BackendExit];
      failed: [api.BackendFailure];
    }>();
    expectTypeOf<Own<api.BackendExit>>().toEqualTypeOf<{
      readonly name: string;
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      readonly stderr: string;
    }>();
    expectTypeOf<api.RunEnd>().toEqualTypeOf<Omit<api.BackendExit, "name">>();
    expectTypeOf<api.BackendFailure>().toEqualTypeOf<{ readonly name: string; readonly error: Error }>();
  });

  it("are these of errors", () => {
    interface Monitor {
      readonly status: number;
      readonly type: api.ErrorType;
    }
    expectTypeOf<api.MonitorError>().toExtend<Error>();
    expectTypeOf<Own<api.MonitorError, Error>>().toEqualTypeOf<Monitor>();
    expectTypeOf<ConstructorParameters<typeof api.MonitorError>>().toEqualTypeOf<
      [status: number, type: api.ErrorType, message: string, options?: ErrorOptions | undefined]
    >();
    expectTypeOf<Own<api.InvalidRequestError, Error>>().toEqualTypeOf<Monitor>();
    expectTypeOf<ConstructorParameters<typeof api.InvalidRequestError>>().toEqualTypeOf<
      [message: string, status?: 400 | 405 | 413 | 415 | undefined, options?: ErrorOptions | undefined]
    >();
    expectTypeOf<Own<api.ModelNotLoadedError, Error>>().toEqualTypeOf<Monitor>();
    expectTypeOf<ConstructorParameters<typeof api.ModelNotLoadedError>>().toEqualTypeOf<[message: string]>();
    expectTypeOf<Own<api.ModelBusyError, Error>>().toEqualTypeOf<Monitor>();
    expectTypeOf<ConstructorParameters<typeof api.ModelBusyError>>().toEqualTypeOf<[message: string]>();
    expectTypeOf<Own<api.BackendError, Error>>().toEqualTypeOf<Monitor>();
    expectTypeOf<ConstructorParameters<typeof api.BackendError>>().toEqualTypeOf<
      [message: string, options?: ErrorOptions | undefined]
    >();
    expectTypeOf<Own<api.InternalError, Error>>().toEqualTypeOf<Monitor>();
    expectTypeOf<ConstructorParameters<typeof api.InternalError>>().toEqualTypeOf<
      [message: string, options?: ErrorOptions | undefined]
    >();

    expectTypeOf<api.BackendCallError>().toExtend<Error>();
    expectTypeOf<Own<api.BackendCallError, Omit<Error, "name">>>().toEqualTypeOf<{
      readonly name: "BackendCallError";
      readonly code: string;
    }>();
    expectTypeOf<Own<typeof api.BackendCallError, typeof Error>>().toEqualTypeOf<{
      from(error: unknown): api.BackendCallError;
    }>();
    expectTypeOf<ConstructorParameters<typeof api.BackendCallError>>().toEqualTypeOf<
      [code: string, message: string, options?: ErrorOptions | undefined]
    >();

    expectTypeOf<api.StartError>().toExtend<Error>();
    expectTypeOf<Own<api.StartError, Omit<Error, "name">>>().toEqualTypeOf<{
      readonly name: "StartError";
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      readonly stderr: string;
    }>();
    expectTypeOf<ConstructorParameters<typeof api.StartError>>().toEqualTypeOf<
      [message: string, end?: (Partial<api.RunEnd> & { cause?: unknown }) | undefined]
    >();
  });
});
