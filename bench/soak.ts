/**
 * A host under mixed load, for as long as it is told to: models come, go, crash, hang and come back, each in a life of its
 * own, while pollers ask for all of them. Every answer is checked against what its model is doing. Fails where an answer is
 * wrong, where a figure of the host's grows (soak/trend.ts has the rule), or where anything is left when all models are
 * stopped. All it starts is real processes; handles, channels and descriptors are counted by Node, gRPC and the kernel.
 *
 *   npm run soak -- --minutes 20 --seed 1
 */
import { Agent } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { bearersOf } from "./kernel.js";
import { randomNumbers } from "./random.js";
import type { Measures } from "./soak/host.js";
import {
  gone,
  live,
  lives,
  Model,
  models,
  over,
  pause,
  registered,
  run,
  stop,
  supervised,
  until,
} from "./soak/lives.js";
import { expectOf, load } from "./soak/load.js";
import { events, host, NOT_LOADED, outcomes, problems, REPORTED, SAMPLED, sum, tell } from "./soak/talk.js";
import { isGrowing, type Reading, trendOf } from "./soak/trend.js";

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "20" }, seed: { type: "string", default: `${Date.now()}` } },
});
const runMs = Number(values.minutes) * 60_000;
const seed = Number(values.seed);
if (!(runMs > 0 && runMs < 2 ** 31) || !Number.isInteger(seed)) {
  console.error(
    `--minutes takes a number over 0 and --seed a whole one, got ${values.minutes} and ${values.seed}`,
  );
  process.exit(2);
}

/** The longest that a model is left alone. */
const REST_MS = Math.min(12_000, runMs / 4);
const MEASURE_MS = Math.max(2_000, runMs / 100);

interface Figure {
  readonly name: string;
  readonly digits: number;
  readonly of: (measures: Measures) => number;
  /** By how much it may grow in a run; `undefined` where that depends on what happens to be asked. */
  readonly mayGrowBy?: number;
}
const FIGURES: Figure[] = [
  { name: "RSS MiB", digits: 1, of: ({ rss }) => rss, mayGrowBy: 16 },
  { name: "heap MiB", digits: 2, of: ({ heap }) => heap, mayGrowBy: 2 },
  { name: "external MiB", digits: 2, of: ({ external }) => external, mayGrowBy: 2 },
  { name: "handles", digits: 0, of: ({ resources }) => handlesIn(resources), mayGrowBy: 5 },
  { name: "descriptors", digits: 0, of: ({ resources }) => resources.descriptors ?? 0, mayGrowBy: 5 },
  { name: "channels", digits: 0, of: ({ resources }) => resources.channels ?? 0, mayGrowBy: 3 },
  { name: "delay p50", digits: 1, of: ({ p50 }) => p50, mayGrowBy: 20 },
  { name: "delay p99", digits: 1, of: ({ p99 }) => p99, mayGrowBy: 20 },
  { name: "delay max", digits: 1, of: ({ max }) => max },
  { name: "CPU %", digits: 0, of: ({ cpuPercent }) => cpuPercent },
];
const series = new Map<Figure, Reading[]>(FIGURES.map((figure) => [figure, []]));

const startedAt = performance.now();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));

const columns = ["time", ...FIGURES.map(({ name }) => name), "requests/s", "events", "models"];
const row = (cells: readonly string[]) =>
  cells.map((cell, index) => cell.padStart((columns[index] ?? "").length + 2)).join("");

async function measureAll(): Promise<void> {
  console.log(row(columns));
  let last = { atMs: 0, requests: sum(outcomes), events: sum(events) };
  for (await pause(MEASURE_MS); !over.signal.aborted; await pause(MEASURE_MS)) {
    const measures = await tell("measure", undefined);
    const now = { atMs: performance.now() - startedAt, requests: sum(outcomes), events: sum(events) };
    for (const [figure, readings] of series) readings.push({ atMs: now.atMs, value: figure.of(measures) });
    console.log(
      row([
        `${(now.atMs / 1000).toFixed(0)} s`,
        ...FIGURES.map(({ of, digits }) => of(measures).toFixed(digits)),
        ((1000 * (now.requests - last.requests)) / (now.atMs - last.atMs)).toFixed(0),
        `${now.events - last.events}`,
        `${[...models.values()].filter(({ expected }) => expected?.outcome !== NOT_LOADED).length}`,
      ]),
    );
    last = now;
  }
}

function handlesIn({ channels, descriptors, ...handles }: Measures["resources"]): number {
  return Object.values(handles).reduce((total, one) => total + one, 0);
}

type Left = Record<string, number>;

async function whatIsThere(): Promise<Left> {
  const { resources } = await tell("measure", undefined);
  return { processes: bearersOf(run).length, ...resources };
}

const excess = (after: Left, before: Left) =>
  Object.entries(after).filter(([kind, there]) => there > (before[kind] ?? 0));

function report(before: Left, after: Left): void {
  const verdict: string[] = [];
  const list = (counts: ReadonlyMap<string, number>) => {
    for (const [what, times] of [...counts].sort()) console.log(`${String(times).padStart(9)}  ${what}`);
  };
  console.log(`\n${values.minutes} minutes with seed ${seed}: ${sum(outcomes)} requests`);
  list(outcomes);
  console.log(`\n${sum(events)} events`);
  list(events);
  console.log("\nTrends once it is warm:");
  for (const [figure, readings] of series) {
    const trend = trendOf(readings);
    const { mayGrowBy = Number.POSITIVE_INFINITY } = figure;
    const said = `${trend.perHour.toFixed(1)} an hour, ${trend.growth.toFixed(2)} in this run (z = ${trend.z.toFixed(1)})`;
    console.log(`  ${figure.name.padEnd(13)} ${said}`);
    if (isGrowing(trend, mayGrowBy)) verdict.push(`${figure.name} grows: ${said}, and may by ${mayGrowBy}`);
  }
  console.log("\nWhen all is stopped, and before:");
  for (const kind of new Set([...Object.keys(before), ...Object.keys(after)])) {
    console.log(`  ${kind}: ${after[kind] || "none"}, ${before[kind] || "none"}`);
  }
  for (const [kind, there] of excess(after, before)) {
    verdict.push(`${kind} left: ${there} instead of ${before[kind] || "none"}`);
  }
  verdict.push(...problems);
  console.log(
    verdict.length === 0 ? "\nsteady" : `\n${verdict.length} problems:\n${verdict.slice(0, 50).join("\n")}`,
  );
  process.exitCode = verdict.length === 0 ? 0 : 1;
}

async function main(): Promise<void> {
  // What is opened once and for all is open after this.
  for (const life of [supervised("session", SAMPLED), registered("reports", REPORTED, true)]) {
    const model = new Model("warm-up", life.normal);
    await life.begin(model, Math.random);
    await expectOf(model.name, life.normal);
    await stop(model, Math.random);
  }
  await delay(500);
  const before = await whatIsThere();

  let stream = seed * 100;
  const random = () => randomNumbers(stream++);
  const living = lives.map((life) => live(life, random(), REST_MS));
  await until(() => lives.every((life) => models.has(life)), "all models to be there");
  const work = [load(random), measureAll()];
  await delay(runMs);
  over.abort();
  await Promise.all([...work, ...living]);

  // The monitor lets go of what was unregistered when somebody asks for it; what a crash has left may take 10 s to end.
  const agent = new Agent({ maxSockets: 20 });
  await Promise.all(Array.from(gone, (name) => expectOf(name, NOT_LOADED, agent)));
  let after = await whatIsThere();
  for (let tries = 0; tries < 150 && excess(after, before).length > 0; tries++) {
    await delay(100);
    after = await whatIsThere();
  }
  host.removeAllListeners("exit").disconnect();
  report(before, after);
}

await main();
