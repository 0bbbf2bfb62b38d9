/**
 * What the viewers of a dashboard cost its server: 50 models, each of which changes with each sample, one sample a second. Prints
 * CPU and memory with none, one, 100 and 1,000 viewers, the medians of several rounds, and what one more viewer costs beside
 * one serialisation of what it is sent.
 *
 *   npm run bench:viewers -- --rounds 3 --seconds 10
 */
import { type ChildProcess, fork, type Serializable } from "node:child_process";
import { once } from "node:events";
import { type ClientRequest, get } from "node:http";
import { cpus } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "./median.js";
import type { Served } from "./viewers/backends.js";
import type { Cost } from "./viewers/host.js";

const MODELS = 50;
/** The last are so many that what one of them costs is more than noise. */
const VIEWERS = [0, 1, 100, 1_000];
/** For what only the first of its kind costs. */
const WARM_UP_SECONDS = 5;

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "3" }, seconds: { type: "string", default: "10" } },
});
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
if (!Number.isInteger(rounds) || rounds < 1 || !(seconds > 0)) {
  console.error(
    `--rounds takes a whole number and --seconds a number, got ${values.rounds} and ${values.seconds}`,
  );
  process.exit(2);
}

const children: ChildProcess[] = [];
process.on("exit", () => {
  for (const child of children) child.kill();
});

const [served] = await start<Served>("backends.js", [`${MODELS}`]);
const [port, host] = await start<number>("host.js", [], served);
console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}
${MODELS} models, one sample a second, ${rounds} rounds of ${seconds} s`);

await watch(1, WARM_UP_SECONDS);
const costs = new Map(VIEWERS.map((viewers) => [viewers, [] as (Cost & { bytes: number })[]]));
for (let round = 0; round < rounds; round++) {
  for (const [viewers, taken] of costs) taken.push(await watch(viewers, seconds));
}
report();
process.exit();

/** Starts a script and sends it what it needs, if anything; resolves with the first thing that it tells, and itself. */
async function start<T>(script: string, args: string[], needed?: Serializable): Promise<[T, ChildProcess]> {
  const file = fileURLToPath(new URL(`viewers/${script}`, import.meta.url));
  const child = fork(file, args, { execArgv: ["--expose-gc"] });
  children.push(child);
  if (needed) child.send(needed);
  const [told] = (await once(child, "message")) as [T];
  return [told, child];
}

/** What so many viewers cost in so many seconds, and how many bytes each of them was sent. */
async function watch(viewers: number, seconds: number): Promise<Cost & { bytes: number }> {
  const requests: ClientRequest[] = [];
  let bytes = 0;
  for (let viewer = 0; viewer < viewers; viewer++) {
    const request = get({ port, path: "/dashboard/api/events", agent: false });
    request.on("error", () => {});
    const [response] = await once(request, "response");
    response.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    response.on("error", () => {});
    requests.push(request);
  }
  // What it costs to come is not counted.
  await delay(1_000);
  await measure();
  bytes = 0;
  await delay(seconds * 1_000);
  const cost = await measure();
  for (const request of requests) request.destroy();
  return { ...cost, bytes: viewers && bytes / viewers };
}

async function measure(): Promise<Cost> {
  host.send("measure");
  const [cost] = (await once(host, "message")) as [Cost];
  return cost;
}

function report(): void {
  const of = (viewers: number, figure: (cost: Cost & { bytes: number }) => number) =>
    median((costs.get(viewers) ?? []).map(figure));
  const percent = (viewers: number) => of(viewers, ({ cpuMs, elapsedMs }) => (100 * cpuMs) / elapsedMs);
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  for (const viewers of VIEWERS) {
    console.log(
      `${`${viewers}`.padStart(4)} viewers: ${percent(viewers).toFixed(1)} % of a core, RSS ${mib(of(viewers, ({ rss }) => rss))} MiB, ` +
        `heap ${mib(of(viewers, ({ heap }) => heap))} MiB, ${(of(viewers, ({ bytes }) => bytes) / seconds / 1024).toFixed(1)} KiB a second each`,
    );
  }
  const perSample = (viewers: number) => of(viewers, ({ cpuMs, elapsedMs }) => (1000 * cpuMs) / elapsedMs);
  const [, few = 1, , many = 1] = VIEWERS;
  const oneMore = (perSample(many) - perSample(few)) / (many - few);
  const jsonMs = of(many, (cost) => cost.jsonMs);
  console.log(
    `one more viewer: ${oneMore.toFixed(3)} ms of CPU a sample; to make JSON of that (${(of(many, (cost) => cost.eventBytes) / 1024).toFixed(1)} KiB) once takes ` +
      `${jsonMs.toFixed(3)} ms, which is ${(oneMore / jsonMs).toFixed(2)} times that`,
  );
}
