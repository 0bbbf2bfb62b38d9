import type { Model } from "./api.js";

/** What a state looks like: there is an icon and a colour for each. */
export type Look = "ready" | "busy" | "empty" | "unknown" | "error" | "stopping";

export interface State {
  readonly look: Look;
  readonly word: string;
  /** Why it is so, or where it is known from; empty where there is nothing to say. */
  readonly note: string;
}

const KNOWN = new Map<number, Omit<State, "note">>([
  [0, { look: "empty", word: "uninitialized" }],
  [1, { look: "busy", word: "busy" }],
  [2, { look: "ready", word: "ready" }],
  [-1, { look: "error", word: "error" }],
]);

export function stateOf({ status, error, shutdown }: Model): State {
  const source = sourceOf(status?.status_error);
  // That nobody answers any more is as it should be.
  if (shutdown) return { look: "stopping", word: shutdown, note: source };
  const note = error?.message ?? source;
  if (!status) return { look: "error", word: "failing", note };
  // A backend that can't say how it is has not failed by that.
  if (status.state === -1 && status.status_error) return { look: "unknown", word: "unknown", note };
  const known = KNOWN.get(status.state) ?? { look: "unknown", word: `state ${status.state}` };
  return { ...known, note };
}

function sourceOf(failure: { readonly code: string; readonly message: string } | undefined): string {
  if (!failure) return "";
  return `by the operating system: ${failure.code}${failure.message ? ` – ${failure.message}` : ""}`;
}
