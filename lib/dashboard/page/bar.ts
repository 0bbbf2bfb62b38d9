import { setAttribute } from "./dom.js";
import { brief, bytes, isolated, percent } from "./format.js";

export interface BarPart {
  readonly name: string;
  readonly value: number;
  /** Which of the colours it has, from 1; 0 is none of them. */
  readonly colour: number;
}

/** As many colours as there are in base.css. */
const COLOURS = 7;

/** A bar of one value or of several beside each other, and of what is left to `whole`. */
export class Bar {
  readonly #element: HTMLElement;
  #segments: HTMLElement[] = [];

  constructor(element: HTMLElement) {
    this.#element = element;
  }

  show(parts: readonly BarPart[], whole: number): void {
    if (this.#segments.length !== parts.length) {
      this.#segments = parts.map(() => document.createElement("i"));
      this.#element.replaceChildren(...this.#segments);
    }
    const total = Math.max(
      whole,
      parts.reduce((sum, { value }) => sum + value, 0),
    );
    for (const [index, { name, value, colour }] of parts.entries()) {
      const segment = this.#segments[index];
      if (!segment) continue;
      setAttribute(segment, "class", `colour-${colour}`);
      const width = `${total > 0 ? ((100 * value) / total).toFixed(2) : 0}%`;
      if (segment.style.width !== width) segment.style.width = width;
      if (name) setAttribute(segment, "title", `${isolated(brief(name))}: ${bytes(value)}`);
    }
  }
}

/**
 * The parts of a breakdown, with a colour each. A backend may name any number of them: beside the largest, the others are one.
 */
export function partsOf(breakdown: Readonly<Record<string, number>>): BarPart[] {
  const entries = Object.entries(breakdown).map(([name, value]) => ({ name, value: Math.max(0, value) }));
  if (entries.length <= COLOURS) return entries.map((entry, index) => ({ ...entry, colour: index + 1 }));
  const largest = new Set([...entries].sort((a, b) => b.value - a.value).slice(0, COLOURS));
  const shown = entries.filter((entry) => largest.has(entry));
  const others = entries.filter((entry) => !largest.has(entry));
  return [
    ...shown.map((entry, index) => ({ ...entry, colour: index + 1 })),
    { name: `${others.length} more`, value: others.reduce((sum, { value }) => sum + value, 0), colour: 0 },
  ];
}

/** What a bar of memory shows, in words. */
export function describeParts(parts: readonly BarPart[], whole: number | null): string {
  return parts
    .map(({ name, value }) => {
      const share = shareOf(value, whole);
      return `${isolated(brief(name))} ${bytes(value)}${share && ` (${share})`}`;
    })
    .join(", ");
}

/** Empty where that can't be said. */
export function shareOf(value: number, whole: number | null): string {
  return whole && whole > 0 && value <= whole ? percent((100 * value) / whole) : "";
}
