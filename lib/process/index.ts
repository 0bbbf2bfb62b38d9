/**
 * The fallback module: what a process and its descendants cost, and how to end them, by the operating system
 * alone. It needs neither Express nor gRPC.
 *
 * @module express-backend-monitor/process
 */
export { ProcessGoneError, type ProcessSample, type SampleOptions, sampleProcess } from "./stats.js";
export { processStartTime } from "./system.js";
export { type TerminateOptions, terminateProcessTree } from "./terminate.js";
export { TerminateError } from "./terminate-error.js";
