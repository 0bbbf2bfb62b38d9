import { inspect } from "node:util";
import { inTime } from "../deadline.js";
import { InternalError } from "../errors.js";
import { quote } from "../message.js";
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
    if (isLoadedModel(model)) return model;
    throw new TypeError(
      "registry.get() returns undefined, or an object with an address (a string) and, for a process on this " +
        `machine, a pid (a whole number from 1) and a startTime (a number); got ${inspect(model)}`,
    );
  } catch (cause) {
    const message = `the registry failed to look up model ${quote(name)}; the server's logger is told why`;
    throw new InternalError(message, { cause });
  }
}

function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | undefined)?.then === "function";
}

function isLoadedModel({ address, pid, startTime }: LoadedModel): boolean {
  return (
    nonEmptyString.accepts(address) &&
    (pid === undefined || processId.accepts(pid)) &&
    (startTime === undefined || Number.isFinite(startTime))
  );
}
