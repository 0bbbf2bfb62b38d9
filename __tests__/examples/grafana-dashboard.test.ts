import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { busyHost, samplesOf } from "../support/metrics.js";
import { isLinux } from "../support/processes.js";
import { namesIn } from "../support/promql.js";

interface Panel {
  id: number;
  type: string;
  title: string;
  datasource: object;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig: { defaults: { unit?: string; mappings?: { options: Record<string, { text: string }> }[] } };
  targets: { refId: string; expr: string; legendFormat?: string; datasource: object }[];
}

const dashboard = JSON.parse(
  readFileSync(new URL("../../examples/grafana-dashboard.json", import.meta.url), "utf8"),
);
const panels: Panel[] = dashboard.panels;
const variables: { name: string; query: string | { query: string } }[] = dashboard.templating.list;
const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));

describe("the dashboard", () => {
  it.skipIf(!isLinux)("asks for metrics and labels that a scrape has", async () => {
    const { scrape } = await busyHost();
    const families = await scrape();
    const samples = (name: string) => samplesOf(families, name);
    for (const expr of expressions) {
      const { metrics, grouping } = namesIn(expr);
      expect(metrics.length).toBeGreaterThan(0);
      for (const { name, filters } of metrics) {
        expect([name, samples(name).length > 0]).toEqual([name, true]);
        for (const { label, value } of filters) {
          const values = samples(name).map(({ labels }) => labels[label]);
          if (value === undefined) expect(values).not.toContain(undefined);
          else expect(values).toContain(value);
        }
        for (const { labels } of samples(name))
          expect(Object.keys(labels)).toEqual(expect.arrayContaining(grouping));
      }
    }
    const shown = new Set(expressions.flatMap((expr) => namesIn(expr).metrics.map(({ name }) => name)));
    const histogram = "backend_monitor_duration_seconds";
    expect(
      [...families.keys()].filter((name) => !shown.has(name === histogram ? `${name}_bucket` : name)),
    ).toEqual(["backend_virtual_memory_bytes"]);
  });

  it("has legends of labels that are left", () => {
    for (const { targets } of panels) {
      for (const { expr, legendFormat = "" } of targets) {
        const labels = Array.from(legendFormat.matchAll(/\{\{(\w+)\}\}/g), ([, label]) => label);
        expect(namesIn(expr).grouping).toEqual(expect.arrayContaining(labels));
      }
    }
  });

  it.skipIf(!isLinux)("has a colour and a name for each state, which its query numbers", async () => {
    const { scrape } = await busyHost();
    const states = new Set(samplesOf(await scrape(), "backend_state").map(({ labels }) => labels.state));
    const [panel] = panels.filter(({ type }) => type === "state-timeline");
    const mapped = panel?.fieldConfig.defaults.mappings?.[0]?.options ?? {};
    const numbered =
      panel?.targets[0]?.expr.matchAll(/(\d+) \* \(backend_state\{[^}]*state="(\w+)"\} == 1\)/g) ?? [];
    expect(Object.fromEntries(Array.from(numbered, ([, number, state]) => [number, state]))).toEqual(
      Object.fromEntries(Object.entries(mapped).map(([number, { text }]) => [number, text])),
    );
    expect(
      Object.values(mapped)
        .map(({ text }) => text)
        .sort(),
    ).toEqual([...states].sort());
  });

  it("uses its own variables, and each of them", () => {
    const used = expressions
      .flatMap((expr) => namesIn(expr).variables)
      .filter((name) => !name.startsWith("__"));
    expect([...new Set([...used, "datasource"])].sort()).toEqual(variables.map(({ name }) => name).sort());
    const [, model] = variables;
    expect(model?.query).toMatchObject({ query: "label_values(backend_up, model)" });
    const prometheus = { type: "prometheus", uid: `\${datasource}` };
    for (const { datasource, targets } of [
      ...panels,
      { datasource: dashboard.templating.list[1].datasource, targets: [] },
    ]) {
      for (const source of [{ datasource }, ...targets]) expect(source.datasource).toEqual(prometheus);
    }
  });

  it("has panels that each have an id, a title and a unit, and do not overlap", () => {
    expect(panels.length).toBeGreaterThanOrEqual(7);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { type, title, gridPos, fieldConfig, targets } of panels) {
      if (type !== "state-timeline")
        expect([title, fieldConfig.defaults.unit]).toEqual([title, expect.any(String)]);
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        expect(x).toBeLessThan(24);
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect([title, taken.has(`${x} ${y}`)]).toEqual([title, false]);
          taken.add(`${x} ${y}`);
        }
      }
    }
  });
});

it("namesIn() reads a query", () => {
  expect(
    namesIn('sum by (le, a) (rate(x_bucket{a=~"$v", b="c"}[$__rate_interval])) or 2 * (y == 1)'),
  ).toEqual({
    metrics: [
      {
        name: "x_bucket",
        filters: [
          { label: "a", value: undefined },
          { label: "b", value: "c" },
        ],
      },
      { name: "y", filters: [] },
    ],
    grouping: ["le", "a"],
    variables: ["v", "__rate_interval"],
  });
});
