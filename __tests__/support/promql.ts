/** What a query takes from a scrape. */
export interface QueryNames {
  /** The metrics, each with the labels that it is filtered by, and by which value where that is a plain one. */
  metrics: { name: string; filters: { label: string; value: string | undefined }[] }[];
  /** The labels that are left of them all: those of `by`. */
  grouping: string[];
  /** Those of Grafana that it names. */
  variables: string[];
}

const TOKENS =
  /"(?<text>[^"]*)"|\$\{?(?<variable>\w+)\}?|(?<word>[a-zA-Z_][\w:]*)|\d+(?:\.\d+)?|=~|!~|!=|==|[-+*/<>=(){}[\],]|(?<bad>\S)/g;
const OPERATORS = ["or", "and", "unless", "bool", "offset"];
const GROUPINGS = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/** Of the part of PromQL that dashboards here use. */
export function namesIn(query: string): QueryNames {
  const names: QueryNames = { metrics: [], grouping: [], variables: [] };
  const tokens = [...query.matchAll(TOKENS)];
  let isFilter = false;
  let isGrouping = false;
  for (const [index, { 0: token, groups: { text, variable, word, bad } = {} }] of tokens.entries()) {
    const next = tokens[index + 1]?.[0];
    if (bad !== undefined) throw new Error(`${bad} in ${query}`);
    for (const [, name = ""] of (text ?? "").matchAll(/\$(\w+)/g)) names.variables.push(name);
    if (variable !== undefined) names.variables.push(variable);
    if (token === "{" || token === "}") isFilter = token === "{";
    else if (token === ")") isGrouping = false;
    else if (word === undefined || OPERATORS.includes(word)) continue;
    else if (GROUPINGS.includes(word)) isGrouping = true;
    else if (isGrouping) names.grouping.push(word);
    else if (isFilter) {
      const value = next === "=" ? tokens[index + 2]?.groups?.text : undefined;
      names.metrics.at(-1)?.filters.push({ label: word, value });
    } else if (next !== "(" && !GROUPINGS.includes(next ?? ""))
      names.metrics.push({ name: word, filters: [] });
  }
  return names;
}
