/**
 * LocalAI's backend monitor for any Express server: {@link createBackendMonitorRouter} makes the router with its four
 * endpoints, {@link BackendMonitor} does the same without HTTP, and {@link BackendSupervisor} or
 * {@link InMemoryModelRegistry} knows the models.
 *
 * @module express-backend-monitor
 */
export type { MonitorAnswer } from "./answer.js";
export {
  BackendCallError,
  type BackendClient,
  type BackendClientFactory,
  type GrpcBackendClientOptions,
  grpcBackendClient,
} from "./backend/client.js";
export { BackendState, type BackendStatus, type MemoryUsage } from "./backend/status.js";
export { basicAuth } from "./basic-auth.js";
export { bearerAuth } from "./bearer-auth.js";
export {
  BackendError,
  type ErrorAnswer,
  type ErrorType,
  InternalError,
  InvalidRequestError,
  ModelBusyError,
  ModelNotLoadedError,
  MonitorError,
} from "./errors.js";
export type { Logger } from "./log.js";
export type { LoadedModel } from "./model.js";
export {
  BackendMonitor,
  type BackendMonitorEvents,
  type BackendMonitorOptions,
  type MonitorLatency,
  type ShutdownOptions,
} from "./monitor.js";
export {
  type OpenApiDocument,
  type OpenApiOperation,
  type OpenApiSecurityScheme,
  openApiDocument,
} from "./openapi/document.js";
export type { ModelOverview, ProcessCost } from "./overview.js";
export { TerminateError } from "./process/terminate-error.js";
export type { RunEnd } from "./registry/backend-run.js";
export { InMemoryModelRegistry, type Registration } from "./registry/memory.js";
export type { RestartPolicy, StartOptions } from "./registry/plan.js";
export type { ModelRegistry, RegistryShutdownOptions } from "./registry/registry.js";
export { StartError } from "./registry/start-error.js";
export {
  type BackendExit,
  type BackendFailure,
  BackendSupervisor,
  type BackendSupervisorEvents,
  type BackendSupervisorOptions,
} from "./registry/supervisor.js";
export {
  type BackendMonitorRouterOptions,
  createBackendMonitorRouter,
  type SharedMonitorRouterOptions,
} from "./router.js";
export type { GuardOptions } from "./routing.js";
export type { ShutdownPhase, ShutdownProgress } from "./shutdown.js";
