import { inTime } from "../deadline.js";
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
    const { address, pid, startTime } = model;
    if (
      nonEmptyString.accepts(address) &&
      (pid === undefined || processId.accepts(pid)) &&
      (startTime === undefined || Number.isFinite(startTime))
    ) {
      return model;
    }
    // Not all of it is shown: it may be anything, of any size.
    throw new TypeError(
      "registry.get() returns undefined, or an object with an address (a string) and, for a process on this " +
        `machine, a pid (a whole number from 1) and a startTime (a number); got ${describe(model)} whose address is ` +
        `${describe(address)}, its pid ${describe(pid)}, its startTime ${describe(startTime)}`,
    );
  } catch (cause) {
    const message = `the registry failed to look up model ${quote(name)}; the server's logger is told why`;
    throw new InternalError(message, { cause });
  }
}

function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | undefined)?.then === "function";
}
