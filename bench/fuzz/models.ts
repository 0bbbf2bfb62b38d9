/** What becomes of requests for a model. */
export type Kind = "sound" | "bare" | "lost" | "busy" | "stuck" | "failing";

/** The models that are loaded. Each name is one that somebody might get wrong. */
const models: Record<Kind, string[]> = {
  /** Its backend reports its memory, and can free it. */
  sound: ["m", "模型 🦙", "a/b:c d.gguf", "constructor", "?", "a&b=c+%41", "é".repeat(512), "\ufeffm"],
  /** Its backend has no `Status`; its process can be sampled. */
  bare: ["bare", "__proto__"],
  /** Neither its backend nor a process of it is there. */
  lost: ["lost", "toString"],
  /** The registry knows that it is in use. */
  busy: ["busy", "valueOf"],
  /** The registry can't stop it. */
  stuck: ["stuck"],
  /** The registry can't even look it up. */
  failing: ["failing", "hasOwnProperty"],
};

export const kinds: ReadonlyMap<string, Kind> = new Map(
  Object.entries(models).flatMap(([kind, names]) => names.map((name) => [name, kind as Kind])),
);

export const modelNames = [...kinds.keys()];
