/**
 * What may stand in a message that leaves the process: written for a person, and safe to show. Nothing that
 * a client, a backend or the operating system said gets into one without passing through here.
 */

const MAX_QUOTED = 100;
const MAX_DETAIL = 300;

/** Invisible, direction-changing or markup characters, which could make a message look like something else. */
const UNSAFE = /[\p{C}\p{Zl}\p{Zp}<>&]/gu;

const ABSOLUTE_PATH = new RegExp(
  [
    /(["'])(?:\/|[A-Za-z]:\\|\\\\).*?\1/, // in quotes, where it may have any spaces
    /file:\/\/\S+/,
    // From its slash to what ends a word, and on where the next word has a slash too: "/home/my user/x". Neither the "//"
    // of a URL starts one, nor gRPC's own "/backend.Backend/Status".
    /(?<![\w/])\/(?!\/|backend\.Backend\/)[^\s"'`’”(),;:\]}|<>]+(?: [^\s/"'`’”(),;:\]}|<>]+\/[^\s"'`’”(),;:\]}|<>]+)*/,
    /(?<![A-Za-z])[A-Za-z]:\\[^\s"'`]+/, // C:\…
    /\\\\[^\s"'`]+/, // \\server\…
  ]
    .map(({ source }) => source)
    .join("|"),
  "g",
);

/** A string of somebody else's in double quotes: escaped, and cut where it is long. */
export function quote(text: string): string {
  return JSON.stringify(cut(text, MAX_QUOTED)).replace(UNSAFE, escapeCharacter);
}

/** What somebody else said of an error: its first line, without paths of this host, escaped and cut. */
export function detail(text: string): string {
  const line = text.trim().split(/[\r\n]/, 1)[0] ?? "";
  return cut(line.replace(ABSOLUTE_PATH, "(path)"), MAX_DETAIL).replace(UNSAFE, escapeCharacter);
}

/** A text of several lines for a log: nothing in it that a terminal would obey, or that hides what it says. */
export function printable(text: string): string {
  return text.replace(/[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu, escapeCharacter);
}

/** Names a value for "…, got X": its kind, and itself where it is short. */
export function describe(value: unknown): string {
  if (typeof value === "string") return `the string ${quote(value)}`;
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") {
    return `the ${typeof value} ${value}`;
  }
  return kindOf(value);
}

/** Names a value that is not to be shown, for it may be a secret. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

function cut(text: string, length: number): string {
  const characters = Array.from(text);
  return characters.length > length ? `${characters.slice(0, length).join("")}…` : text;
}

/** As JSON escapes it, which takes two escapes for a character outside of the basic plane. */
function escapeCharacter(character: string): string {
  return Array.from({ length: character.length }, (_, unit) => {
    return `\\u${character.charCodeAt(unit).toString(16).padStart(4, "0")}`;
  }).join("");
}
