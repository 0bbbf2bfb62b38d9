import { spawnSync } from "node:child_process";
import type { Family } from "./prometheus.js";

export const hasPromtool = spawnSync("promtool", ["--version"]).error === undefined;

/** What stands in the name of tests that need it. */
export const byPromtool = hasPromtool
  ? ""
  : " (SKIPPED: no promtool on the PATH; Debian has it in prometheus)";

/** What `promtool check metrics` says of a scrape: nothing where it finds no fault. */
export function promtoolComplaints(scrape: string): string {
  const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
    input: scrape,
    encoding: "utf8",
  });
  return stdout + stderr + (status === 0 ? "" : `it ended with ${status}`);
}

const UNITS =
  /_(milli|micro|nano)?(minutes|hours|days|weeks|milliseconds|microseconds|nanoseconds|kilobytes|megabytes|gigabytes|terabytes|kibibytes|mebibytes|gibibytes|bits|percent|celsius_degrees)(_|$)/;
const ABBREVIATED = /_(s|ms|us|ns|sec|b|kb|mb|gb|tb|pb|m|h|d)(_|$)/;
const TYPES = /(^|_)(counter|gauge|histogram|summary|untyped)(_|$)/;

/** The same rules, for where there is no promtool. */
export function lintComplaints(families: ReadonlyMap<string, Family>): string[] {
  const complaints: string[] = [];
  for (const { name, type, help, samples } of families.values()) {
    const labels = new Set(samples.flatMap(({ labels }) => Object.keys(labels)));
    const rules: [isBroken: boolean, rule: string][] = [
      [help === "", "no help text"],
      [(type === "counter") !== name.endsWith("_total"), "counters, and only they, end in _total"],
      [/_(count|sum|bucket|info|created)$/.test(name), "a reserved suffix"],
      [type !== "histogram" && labels.has("le"), "the label le is that of histograms"],
      [UNITS.test(name), "not a base unit"],
      [ABBREVIATED.test(name), "an abbreviated unit"],
      [TYPES.test(name), "the type in the name"],
      [[name, ...labels].some((word) => word !== word.toLowerCase()), "not in lower case"],
      [[...labels].some((label) => label.startsWith("__")), "a reserved label"],
    ];
    for (const [isBroken, rule] of rules) if (isBroken) complaints.push(`${name}: ${rule}`);
  }
  return complaints;
}
