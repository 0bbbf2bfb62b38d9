import { part, setText } from "./dom.js";

/** What comes within this time is said as one: a screen reader drops what is overtaken. */
const GATHER_MS = 400;

const gathered: string[] = [];

/** Has a screen reader say it, when it has said what it is saying. */
export function announce(text: string): void {
  if (gathered.push(text) > 1) return;
  setTimeout(() => {
    setText(part(document, "announcement", HTMLElement), gathered.splice(0).join(". "));
  }, GATHER_MS);
}
