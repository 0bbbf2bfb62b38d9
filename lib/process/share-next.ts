/**
 * Lets callers share what they wait for, one run at a time: who comes while one is under way gets the next, which begins
 * after that, so that what everybody gets was begun after they asked.
 */
export function shareNext<T>(run: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | undefined;
  return () => {
    next ??= underWay.then(() => {
      const current = run();
      next = undefined;
      underWay = current.catch(() => {});
      return current;
    });
    return next;
  };
}
