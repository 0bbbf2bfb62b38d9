import type { LoadedModel } from "../model.js";
import { aBoolean, abortSignal, milliseconds, type OptionCheck } from "../options.js";

/** How a registry is to stop a model. */
export interface RegistryShutdownOptions {
  /** The client asked for a stop without waiting for the model to be idle. */
  readonly force: boolean;
  /** How long the process may take to end by itself before it is killed, in milliseconds. */
  readonly timeoutMs: number;
  /** Aborted when nobody waits for the outcome any more. */
  readonly signal: AbortSignal;
}

/** Knows which models are loaded and how to stop them. Each method but `followLogs` may be sync or async. */
export interface ModelRegistry {
  /** The model of exactly this name, or `undefined` where none is loaded. */
  get(name: string): LoadedModel | undefined | Promise<LoadedModel | undefined>;
  /** Every model that is loaded. */
  list(): readonly LoadedModel[] | Promise<readonly LoadedModel[]>;
  /**
   * Stops a model: ends when every process of its backend is gone and the model is no longer listed. Where
   * that can't be reached it throws, and the model stays listed. It may return how many processes it ended, or a promise of
   * that, for the log.
   */
  shutdown(name: string, options: RegistryShutdownOptions): unknown;
  /**
   * Called instead of `shutdown` for a model that is not listed: a registry that starts backends itself gives up a start or
   * a restart of it that is under way or ahead. Nothing is to be done where there is none.
   */
  cancelStart?(name: string, options: RegistryShutdownOptions): unknown;
  /** The log of a model, for a registry that keeps logs: what there is of it. `undefined` where nothing is known of the model. */
  logs?(name: string): string | undefined | Promise<string | undefined>;
  /**
   * The same, and then what is added, until `signal` is aborted. Then it ends; it does not throw. `undefined` where nothing is
   * known of the model.
   */
  followLogs?(name: string, signal: AbortSignal): AsyncIterable<string> | undefined;
}

export const shutdownOptionChecks: Record<keyof RegistryShutdownOptions, OptionCheck> = {
  force: aBoolean,
  timeoutMs: milliseconds,
  signal: abortSignal,
};
