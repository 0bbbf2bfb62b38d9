/**
 * Runs a task for at most `ms` milliseconds. When they are over, or when `hurry` is aborted, the task's signal is aborted
 * and the promise rejects (with `expired()`, or with the reason of the hurry), whether or not the task takes notice.
 */
export async function withDeadline<T>(
  ms: number,
  task: (signal: AbortSignal) => T | PromiseLike<T>,
  expired: () => Error,
  hurry?: AbortSignal,
): Promise<T> {
  const controller = new AbortController();
  const stopped = new Promise<never>((_resolve, reject) => {
    controller.signal.addEventListener("abort", () => reject(controller.signal.reason));
  });
  const onHurry = () => controller.abort(hurry?.reason);
  const timer = setTimeout(() => controller.abort(expired()), ms);
  hurry?.addEventListener("abort", onHurry);
  if (hurry?.aborted) onHurry();
  try {
    return await Promise.race([stopped, (async () => task(controller.signal))()]);
  } finally {
    clearTimeout(timer);
    hurry?.removeEventListener("abort", onHurry);
  }
}
