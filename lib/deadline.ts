/**
 * Runs a task for at most `ms` milliseconds. When they are over, the task's signal is aborted and the promise
 * rejects with `expired()`, whether or not the task takes notice of its signal.
 */
export async function withDeadline<T>(
  ms: number,
  task: (signal: AbortSignal) => T | PromiseLike<T>,
  expired: () => Error,
): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = expired();
      reject(error);
      controller.abort(error);
    }, ms);
  });
  try {
    return await Promise.race([expiry, (async () => task(controller.signal))()]);
  } finally {
    clearTimeout(timer);
  }
}
