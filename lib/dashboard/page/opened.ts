/** Which models are open. It is kept with this entry of the browser's history: over a reload, and without any storage. */

export function rememberOpened(names: readonly string[]): void {
  history.replaceState({ opened: names }, "");
}

/** `undefined` where the page is here for the first time. */
export function rememberedOpened(): ReadonlySet<string> | undefined {
  const opened: unknown = history.state?.opened;
  return Array.isArray(opened) ? new Set(opened) : undefined;
}
