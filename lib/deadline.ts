import { setMaxListeners } from "node:events";

/**
 * Runs a task for at most `ms` milliseconds. When they are over, or when `hurry` is aborted, the task's signal is aborted
 * and the promise rejects (with `expired()`, or with the reason of the hurry), whether or not the task takes notice.
 */
export function withDeadline<T>(
  ms: number,
  task: (signal: AbortSignal) => T | PromiseLike<T>,
  expired: () => Error,
  hurry?: AbortSignal,
): Promise<T> {
  const controller = new AbortController();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => stop(expired()), ms);
    const onHurry = () => stop(hurry?.reason);
    const leave = () => {
      clearTimeout(timer);
      hurry?.removeEventListener("abort", onHurry);
    };
    const stop = (reason: unknown) => {
      leave();
      // First, so that it is not for the task to say why.
      reject(reason);
      controller.abort(reason);
    };
    hurry?.addEventListener("abort", onHurry);
    if (hurry?.aborted) onHurry();
    (async () => task(controller.signal))().finally(leave).then(resolve, reject);
  });
}

/** What a promise comes to, or a rejection with `expired()` once `ms` milliseconds are over. */
export function inTime<T>(ms: number, promise: PromiseLike<T>, expired: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(expired()), ms);
    Promise.resolve(promise)
      .finally(() => clearTimeout(timer))
      .then(resolve, reject);
  });
}

/** What a promise comes to, or a rejection with the signal's reason as soon as that is aborted. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  let onAbort = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    // Many may well wait with one signal: that is no leak.
    setMaxListeners(0, signal);
    signal.addEventListener("abort", onAbort);
  });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
