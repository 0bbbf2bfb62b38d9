/**
 * What may stand in a message that leaves the process: written for a person, and safe to show. Nothing that
 * a client, a backend or the operating system said gets into one without passing through here.
 */

const MAX_QUOTED = 100;
const MAX_DETAIL = 300;

/** Invisible, direction-changing or markup characters, which could make a message look like something else. */
const UNSAFE = /[\p{C}\p{Zl}\p{Zp}<>&]/gu;

const ABSOLUTE_PATH =
  /(["'])(?:\/|[A-Za-z]:\\|\\\\).*?\1|file:\/\/\S+|(?<=^|[\s("'`=:,[])\/(?!\/|backend\.Backend\/)[^\s"'`(),;:\]]+|(?<![A-Za-z])[A-Za-z]:\\[^\s"'`]+|\\\\[^\s"'`]+/g;

/** A string of somebody else's in double quotes: escaped, and cut where it is long. */
export function quote(text: string): string {
  const characters = Array.from(text);
  const shown = characters.length > MAX_QUOTED ? `${characters.slice(0, MAX_QUOTED).join("")}…` : text;
  return JSON.stringify(shown).replace(UNSAFE, escapeCharacter);
}

/** What somebody else said of an error: its first line, without paths of this host, escaped and cut. */
export function detail(text: string): string {
  const line = text.trim().split(/[\r\n]/, 1)[0] ?? "";
  const shown = line.replace(ABSOLUTE_PATH, "(path)").replace(UNSAFE, escapeCharacter);
  return shown.length > MAX_DETAIL ? `${shown.slice(0, MAX_DETAIL)}…` : shown;
}

/** Names a value for "…, got X": its kind, and itself where it is short. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "string") return `the string ${quote(value)}`;
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") {
    return `the ${typeof value} ${value}`;
  }
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

function escapeCharacter(character: string): string {
  return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
}
