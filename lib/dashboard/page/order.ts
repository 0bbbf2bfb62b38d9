import type { Model } from "./api.js";
import { cpuOf, memoryOf } from "./cost.js";
import { stateOf } from "./state.js";

export type Column = "name" | "state" | "memory" | "cpu" | "processes" | "uptime";

export interface Order {
  readonly column: Column;
  readonly isDescending: boolean;
}

const byName = new Intl.Collator("en", { numeric: true });

/** What the rows are ordered by. What is not known comes last in either direction. */
const KEYS: Record<Exclude<Column, "name">, (model: Model) => number | string | null> = {
  state: (model) => stateOf(model).word,
  memory: memoryOf,
  cpu: cpuOf,
  processes: ({ process }) => process?.processes ?? null,
  uptime: ({ loaded_since }) => (loaded_since === null ? null : -Date.parse(loaded_since)),
};

export function isColumn(name: string | undefined): name is Column {
  return name === "name" || (name !== undefined && Object.hasOwn(KEYS, name));
}

/** Figures are of interest where they are large. */
export function ordered(column: Column, before: Order): Order {
  if (column === before.column) return { column, isDescending: !before.isDescending };
  return { column, isDescending: column !== "name" && column !== "state" };
}

export function compareBy({ column, isDescending }: Order): (a: Model, b: Model) => number {
  const direction = isDescending ? -1 : 1;
  const names = (a: Model, b: Model) => byName.compare(a.name, b.name) || (a.name < b.name ? -1 : 1);
  if (column === "name") return (a, b) => direction * names(a, b);
  const keyOf = KEYS[column];
  return (a, b) => {
    const [left, right] = [keyOf(a), keyOf(b)];
    if (left === right) return names(a, b);
    if (left === null || right === null) return left === null ? 1 : -1;
    return direction * (left < right ? -1 : 1);
  };
}
