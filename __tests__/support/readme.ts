import { readFileSync } from "node:fs";

/** A block of code in README. */
export interface Block {
  /** The heading that it stands under, its language, and a number where there are several of it. */
  id: string;
  code: string;
}

export const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

/** All blocks of code in README, in turn. */
export function readmeBlocks(): Block[] {
  const blocks: Block[] = [];
  let section = "";
  const parts = readme.matchAll(/^#+ (?<heading>[^\n]*)$|^```(?<language>\w*)\n(?<code>.*?)^```$/gms);
  for (const { groups: { heading, language, code = "" } = {} } of parts) {
    if (heading !== undefined) {
      section = heading;
      continue;
    }
    const name = `${section}: ${language}`;
    const earlier = blocks.filter(({ id }) => id.replace(/ \d+$/, "") === name).length;
    blocks.push({ id: earlier === 0 ? name : `${name} ${earlier + 1}`, code });
  }
  return blocks;
}
