import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

const read = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), "utf8");
const { engines, scripts } = JSON.parse(read("package.json"));

describe("the workflow", () => {
  const { permissions, jobs } = parse(read(".github/workflows/test.yml"));
  const { strategy, steps } = jobs.test as {
    strategy: { matrix: { os: string[]; node: string[] } };
    steps: { uses?: string; run?: string }[];
  };

  it("runs README's test command on each system, from the oldest Node that is supported", () => {
    const commands = steps.flatMap(({ run }) => run ?? []);
    expect(commands.length).toBeGreaterThan(0);
    expect(read("README.md")).toContain(commands.join(" && "));
    expect(strategy.matrix.os.map((os) => os.split("-")[0])).toEqual(["ubuntu", "macos", "windows"]);
    const oldest = engines.node.split(" || ").map((range: string) => range.replace(/^\D+/, ""));
    expect(strategy.matrix.node.map((version) => version.split(".")[0])).toEqual(
      oldest.map((version: string) => version.split(".")[0]),
    );
    expect(strategy.matrix.node[0]).toBe(oldest[0]);
  });

  it("may write nothing, and runs actions that cannot change", () => {
    expect(permissions).toEqual({ contents: "read" });
    const actions = steps.flatMap(({ uses }) => uses ?? []);
    expect(actions.length).toBeGreaterThan(0);
    for (const action of actions) expect(action).toMatch(/^actions\/[a-z-]+@[0-9a-f]{40}$/);
  });
});

it("README.md and CONTRIBUTING.md name scripts that there are", () => {
  const text = read("README.md") + read("CONTRIBUTING.md");
  const named = Array.from(text.matchAll(/npm run ([\w:]+)/g), ([, name]) => name);
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
  expect(named.length).toBeGreaterThan(5);
});

it("CONTRIBUTING.md names files that there are", () => {
  const named = Array.from(
    read("CONTRIBUTING.md").matchAll(/`((?:lib|bench|examples|protos|__tests__)\/[\w./-]*)`/g),
    ([, path = ""]) => path,
  );
  expect(named.filter((path) => !existsSync(new URL(`../${path}`, import.meta.url)))).toEqual([]);
  expect(named.length).toBeGreaterThan(5);
});

it("CHANGELOG.md has the version of package.json, or says that it is to come", () => {
  const { version } = JSON.parse(read("package.json"));
  const released = read("CHANGELOG.md").match(/^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$/m)?.[1];
  expect(released ?? /this is what (\d+\.\d+\.\d+) will have/.exec(read("CHANGELOG.md"))?.[1]).toBe(version);
});
