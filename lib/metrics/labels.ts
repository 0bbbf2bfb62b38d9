/** What may stand in a label. Each value is a series, so there is a bound to how many there are at a time. */
import type { MonitorAnswer } from "../answer.js";
import { MAX_NAME_LENGTH } from "../model.js";
import type { ModelOverview } from "../overview.js";

/** How many models are shown. */
export const MAX_MODELS = 1_000;

/** How many components a model may have, that of the rest included. */
const MAX_COMPONENTS = 16;

const MAX_COMPONENT_LENGTH = 64;

/** The rest of the components. */
const OTHER = "other";

/** The models that are shown, by their label: where there are too many, those whose names come first. */
export function shownModels(models: readonly ModelOverview[]): ReadonlyMap<string, ModelOverview> {
  const byName = models.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return new Map(byName.slice(0, MAX_MODELS).map((model) => [modelLabel(model.name), model]));
}

/** As it is, if requests can have it: a registry of the host's may list any. */
export function modelLabel(name: string): string {
  return cut(name, MAX_NAME_LENGTH);
}

/** The components of a model with their bytes: the largest, and the sum of the rest. Names that are cut to the same are one. */
export function componentBytes(
  breakdown: MonitorAnswer["memory"]["breakdown"] | undefined,
): ReadonlyMap<string, number> {
  const components = new Map<string, number>();
  // A host's own client may have `null` for it.
  for (const [name, bytes] of Object.entries(breakdown ?? {})) {
    if (isKnown(bytes)) add(components, componentLabel(name), Number(bytes));
  }
  if (components.size <= MAX_COMPONENTS) return components;

  const bySize = [...components].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  const shown = new Map(bySize.slice(0, MAX_COMPONENTS - 1));
  for (const [, bytes] of bySize.slice(MAX_COMPONENTS - 1)) add(shown, OTHER, bytes);
  return shown;
}

/** What a host's own client has in the place of a figure may be anything. */
export function isKnown(value: unknown): value is number | bigint {
  return (typeof value === "number" || typeof value === "bigint") && Number.isFinite(Number(value));
}

function add(components: Map<string, number>, name: string, bytes: number): void {
  components.set(name, (components.get(name) ?? 0) + bytes);
}

/**
 * prom-client knows a sample by its labels in one text, `component:…,model:…,`. With this, no component of one model can look
 * there like that of another.
 */
function componentLabel(name: string): string {
  return cut(name, MAX_COMPONENT_LENGTH).replaceAll(",model:", ", model:");
}

/** In whole characters, without halves of one: those have no place in UTF-8, and would all be sent as the same. */
function cut(text: string, length: number): string {
  const characters = Array.from(text.slice(0, 2 * length)).slice(0, length);
  return characters.join("").replaceAll(/\p{Surrogate}/gu, "\ufffd");
}
