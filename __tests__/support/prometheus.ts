/**
 * Reads what Prometheus scrapes, in both of its formats, and is stricter than it has to be: whatever the formats don't allow is an
 * Error. What npm has for this keeps one of two samples with the same labels, and drops those of histograms.
 */

export interface Sample {
  /** With its suffix, such as `_bucket`. */
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Family {
  name: string;
  type: string;
  help: string;
  samples: Sample[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = '([a-zA-Z_][a-zA-Z0-9_]*)="((?:\\\\[\\\\"n]|[^\\\\"\\n])*)"';
const LABELS = new RegExp(LABEL, "gs");
const META = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`);
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (\\S+)$`, "s");
const NUMBER = /^(?:[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?|\+Inf)$/;

/** What may follow the name of a family in that of its samples. */
const SUFFIXES: Record<string, string[]> = { histogram: ["_bucket", "_sum", "_count"] };

export function parseMetrics(text: string): Map<string, Family> {
  return parse(text, {});
}

export function parseOpenMetrics(text: string): Map<string, Family> {
  if (!text.endsWith("\n# EOF\n")) throw new Error("does not end with # EOF");
  return parse(text.slice(0, -"# EOF\n".length), { counter: ["_total"] });
}

function parse(text: string, suffixes: Record<string, string[]>): Map<string, Family> {
  const isOpenMetrics = suffixes.counter !== undefined;
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let family: Family | undefined;
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  for (const line of text.slice(0, -1).split("\n")) {
    const fault = (what: string) => new Error(`${what}: ${JSON.stringify(line)}`);
    if (line === "" && !isOpenMetrics) continue;
    const [, kind, name = "", rest = ""] = META.exec(line) ?? [];
    if (kind === "HELP") {
      if (families.has(name)) throw fault("a family that there was");
      family = { name, type: "", help: unescaped(rest), samples: [] };
      families.set(name, family);
    } else if (kind === "TYPE") {
      if (family?.name !== name || family.type !== "") throw fault("a type out of place");
      family.type = rest;
    } else {
      const [, sampleName = "", labelText = ""] = SAMPLE.exec(line) ?? [];
      const value = line.slice(line.lastIndexOf(" ") + 1);
      if (!family?.type || !NUMBER.test(value)) throw fault("no sample");
      const allowed = { ...SUFFIXES, ...suffixes }[family.type] ?? [""];
      if (!allowed.some((suffix) => sampleName === `${family?.name}${suffix}`)) {
        throw fault("a sample of another family");
      }
      const labels = readLabels(labelText);
      const identity = JSON.stringify([sampleName, ...Object.entries(labels).sort()]);
      if (seen.has(identity)) throw fault("a sample that there was");
      seen.add(identity);
      family.samples.push({ name: sampleName, labels, value: Number(value.replace("+Inf", "Infinity")) });
    }
  }
  for (const { type, samples } of families.values()) if (type === "histogram") checkHistogram(samples);
  return families;
}

function readLabels(text: string): Record<string, string> {
  const labels = Array.from(text.matchAll(LABELS), ([, name = "", value = ""]) => [name, unescaped(value)]);
  if (new Set(labels.map(([name]) => name)).size < labels.length) {
    throw new Error(`a label twice: ${text}`);
  }
  return Object.fromEntries(labels);
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, (_, character) => (character === "n" ? "\n" : character));
}

/** Its buckets grow, and the last of them has all that are counted. */
function checkHistogram(samples: Sample[]): void {
  const series = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _, ...labels } = sample.labels;
    const key = JSON.stringify(Object.entries(labels).sort());
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const [labels, own] of series) {
    const valuesOf = (suffix: string) => own.filter(({ name }) => name.endsWith(suffix));
    const buckets = valuesOf("_bucket");
    const counts = buckets.map(({ value }) => value);
    const bounds = buckets.map(({ labels }) => Number(labels.le?.replace("+Inf", "Infinity")));
    const isSound =
      valuesOf("_sum").length === 1 &&
      valuesOf("_count").map(({ value }) => value)[0] === counts.at(-1) &&
      bounds.at(-1) === Number.POSITIVE_INFINITY &&
      isSorted(counts) &&
      isSorted(bounds);
    if (!isSound) throw new Error(`no histogram: ${labels}`);
  }
}

function isSorted(numbers: number[]): boolean {
  return numbers.every((number, index) => index === 0 || number >= Number(numbers[index - 1]));
}
