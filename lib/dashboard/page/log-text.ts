/** Longer than any sequence of a terminal is: what has not ended by then is none. */
const LONGEST_SEQUENCE = 256;

/** What may stand behind the ESC: a control sequence, a title or a link, or a short one. */
const CONTROL_SEQUENCE = /^\[[0-?]*[ -/]*[@-~]/;
const SHORT_SEQUENCE = /^[ -/]*[0-Z\\^-~]/;
const ESCAPE = "\u001b";
const BELL = "\u0007";

/** All but line ends and tabs. */
const CONTROLS = /[^\P{Cc}\n\t]/gu;

/** Makes plain text of what a program wrote for a terminal. It comes in pieces, which may end anywhere. */
export class LogText {
  #rest = "";

  add(piece: string): string {
    const [first = "", ...sequences] = (this.#rest + piece).split(ESCAPE);
    this.#rest = "";
    let text = first;
    for (const [index, sequence] of sequences.entries()) {
      const isLast = index === sequences.length - 1;
      const after = afterSequence(sequence);
      if (after !== undefined) text += after;
      else if (isLast && sequence.length < LONGEST_SEQUENCE) this.#rest = ESCAPE + sequence;
    }
    // It may be half of a line end.
    if (this.#rest === "" && text.endsWith("\r")) {
      this.#rest = "\r";
      text = text.slice(0, -1);
    }
    // A line that is written over again and again is many.
    return text.replaceAll("\r\n", "\n").replaceAll("\r", "\n").replace(CONTROLS, "");
  }
}

/** What follows a sequence; `undefined` where it has not ended. A title ends with a bell, or with the next sequence. */
function afterSequence(text: string): string | undefined {
  if (/^[\]PX^_]/.test(text)) {
    const end = text.indexOf(BELL);
    return end < 0 ? undefined : text.slice(end + 1);
  }
  const sequence = (CONTROL_SEQUENCE.exec(text) ?? SHORT_SEQUENCE.exec(text))?.[0];
  return sequence === undefined ? undefined : text.slice(sequence.length);
}
