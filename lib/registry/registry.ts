import { aBoolean, abortSignal, milliseconds, type OptionCheck } from "../options.js";

/** A model that is loaded: a backend process, or one on another machine, serves it. */
export interface LoadedModel {
  /** What requests call it. */
  readonly name: string;
  /** A gRPC target: `127.0.0.1:50051`, `[::1]:50051`, `unix:/run/llama.sock`, `dns:///host:port`. */
  readonly address: string;
  /** The backend's process on this machine; its descendants count as the backend's too. */
  readonly pid?: number | undefined;
  /**
   * The process' start time as `processStartTime(pid)` gives it. With it, a process id that the operating
   * system has since given to another process is recognised, and that process is left alone.
   */
  readonly startTime?: number | undefined;
  /** True while the registry knows the model to be in use; a shutdown then waits. */
  readonly busy?: boolean | undefined;
}

export interface RegistryShutdownOptions {
  /** The client asked for a stop without waiting for the model to be idle. */
  readonly force: boolean;
  /** How long the process may take to end by itself before it is killed, in milliseconds. */
  readonly timeoutMs: number;
  /** Aborted when nobody waits for the outcome any more. */
  readonly signal: AbortSignal;
}

/** Knows which models are loaded and how to stop them. Each method may be sync or async. */
export interface ModelRegistry {
  /** The model of exactly this name, or `undefined` where none is loaded. */
  get(name: string): LoadedModel | undefined | Promise<LoadedModel | undefined>;
  /** Every model that is loaded. */
  list(): readonly LoadedModel[] | Promise<readonly LoadedModel[]>;
  /**
   * Stops a model: ends when every process of its backend is gone and the model is no longer listed. Where
   * that can't be reached it throws, and the model stays listed.
   */
  shutdown(name: string, options: RegistryShutdownOptions): void | Promise<void>;
  /**
   * Called instead of `shutdown` for a model that is not listed: a registry that starts backends itself gives up a start or
   * a restart of it that is under way or ahead. Nothing is to be done where there is none.
   */
  cancelStart?(name: string, options: RegistryShutdownOptions): void | Promise<void>;
}

export const shutdownOptionChecks: Record<keyof RegistryShutdownOptions, OptionCheck> = {
  force: aBoolean,
  timeoutMs: milliseconds,
  signal: abortSignal,
};
