import { inTime, withDeadline } from "../deadline.js";
import { InternalError } from "../errors.js";
import { describe, quote } from "../message.js";
import type { LoadedModel } from "../model.js";
import { nonEmptyString, processId } from "../options.js";
import type { ModelRegistry } from "./registry.js";

/**
 * Asks a registry, which is the host's code, for a model.
 *
 * @throws {InternalError} where it throws, does not answer in time, or answers nonsense.
 */
export async function lookUp(
  registry: ModelRegistry,
  name: string,
  timeoutMs: number,
): Promise<LoadedModel | undefined> {
  try {
    const found = registry.get(name);
    const model = isPromise(found)
      ? await inTime(
          timeoutMs,
          found,
          () => new Error(`registry.get() did not answer within ${timeoutMs} ms`),
        )
      : found;
    if (!model) return undefined;
    checkModel("registry.get() returns undefined, or", model);
    return model;
  } catch (cause) {
    throw lookUpFailed(name, cause);
  }
}

/**
 * Asks a registry for all models, by name.
 *
 * @throws {InternalError} where it throws, does not answer in time, or answers something without names.
 */
export async function listModels(
  registry: ModelRegistry,
  timeoutMs: number,
): Promise<ReadonlyMap<string, LoadedModel>> {
  try {
    const models = await withDeadline(
      timeoutMs,
      () => registry.list(),
      () => new Error(`registry.list() did not answer within ${timeoutMs} ms`),
    );
    if (!Array.isArray(models)) {
      throw new TypeError(`registry.list() returns an array of models, got ${describe(models)}`);
    }
    const nameless = models.findIndex((model) => typeof model?.name !== "string");
    if (nameless >= 0) {
      throw new TypeError(
        `registry.list() returns models, each with its name, got one at index ${nameless} whose name is ` +
          describe(models[nameless]?.name),
      );
    }
    return new Map(models.map((model) => [model.name, model]));
  } catch (cause) {
    const message = "the registry failed to list its models; the server's logger is told why";
    throw new InternalError(message, { cause });
  }
}

/** Why a model that is listed is none; `undefined` where it is one. */
export function refusal(name: string, model: LoadedModel): InternalError | undefined {
  try {
    checkModel("registry.list() returns models, each", model);
    return undefined;
  } catch (cause) {
    return lookUpFailed(name, cause);
  }
}

function checkModel(returns: string, model: LoadedModel): void {
  const { address, pid, startTime } = model;
  if (
    nonEmptyString.accepts(address) &&
    (pid === undefined || processId.accepts(pid)) &&
    (startTime === undefined || Number.isFinite(startTime))
  ) {
    return;
  }
  // Not all of it is shown: it may be anything, of any size.
  throw new TypeError(
    `${returns} an object with an address (a string) and, for a process on this machine, a pid (a whole number ` +
      `from 1) and a startTime (a number); got ${describe(model)} whose address is ${describe(address)}, its pid ` +
      `${describe(pid)}, its startTime ${describe(startTime)}`,
  );
}

function lookUpFailed(name: string, cause: unknown): InternalError {
  const message = `the registry failed to look up model ${quote(name)}; the server's logger is told why`;
  return new InternalError(message, { cause });
}

function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | undefined)?.then === "function";
}
