/**
 * Starts and stops backends of every nasty kind in random order, eight at a time, some of them twice at once, some killed
 * from outside in the middle. Fails where anything is left at the end: a process, a listening port, a file descriptor or a
 * channel; or where a bystander was touched. Processes, ports and file descriptors are read from the kernel, channels are
 * counted where they are made: nothing is the package's own word.
 *
 *   npm run stress -- --rounds 2000 --seed 1
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import express from "express";
import {
  type BackendClientFactory,
  BackendSupervisor,
  createBackendMonitorRouter,
  grpcBackendClient,
  StartError,
  type StartOptions,
} from "express-backend-monitor";
import { bearersOf, kill, readCommandLine, stateOf } from "./kernel.js";
import { pickFrom, randomNumbers } from "./random.js";

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "50" }, seed: { type: "string", default: `${Date.now()}` } },
});
const rounds = Number(values.rounds);
const seed = Number(values.seed);
if (!Number.isInteger(rounds) || rounds < 0 || !Number.isInteger(seed)) {
  console.error(`--rounds and --seed take whole numbers, got ${values.rounds} and ${values.seed}`);
  process.exit(2);
}
const AT_ONCE = 8;
const ALONE = Math.min(20, Math.ceil(rounds / 5));
const BYSTANDERS = 10;
const TERMINATE_TIMEOUT_MS = 200;

/** The kinds of __tests__/processes/backend.mjs. */
const KINDS = [
  "bare",
  "chain",
  "daemon",
  "deaf",
  "flood",
  "forking",
  "holding",
  "respawn",
  "session",
  "slow",
  "stopped",
  "zombies",
];
const backend = fileURLToPath(new URL("../../__tests__/processes/backend.mjs", import.meta.url));

const run = randomUUID();
const random = randomNumbers(seed);
const pick = <T>(items: readonly T[]) => pickFrom(items, random);
const problems: string[] = [];
const counts = new Map<string, number>();

interface Bystander {
  readonly child: ChildProcess;
  /** How far the id of the backend that was started next is from its own. */
  readonly distance: number;
}
const bystanders: Bystander[] = [];
process.on("exit", () => {
  for (const { child } of bystanders) child.kill("SIGKILL");
});

/** The ports that the backends of each model were given, and those that were still listened at when it was stopped. */
const ports = new Map<string, Set<number>>();
const leftPorts = new Set<number>();

let channels = 0;
const createClient: BackendClientFactory = (model) => {
  const client = grpcBackendClient()(model);
  ports.set(model.name, (ports.get(model.name) ?? new Set()).add(Number(model.address.split(":")[1])));
  channels++;
  let isOpen = true;
  return {
    ...client,
    close() {
      if (isOpen) channels--;
      isOpen = false;
      client.close();
    },
  };
};

const supervisor = new BackendSupervisor({ createClient });
supervisor.on("failed", ({ name, error }) => problems.push(`${name} failed: ${error.message}`));
const app = express();
app.use(
  createBackendMonitorRouter({
    registry: supervisor,
    createClient,
    terminateTimeoutMs: TERMINATE_TIMEOUT_MS,
  }),
);
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as AddressInfo;

const startedAt = performance.now();
const alone: number[] = [];
const crowded: number[] = [];

async function main(): Promise<void> {
  // What is opened once and for all is open after this.
  await politeRound("warm-up", "polite,session");
  await delay(500);
  const before = whatIsThere();

  await startBystander();
  for (let round = 0; round < ALONE; round++) alone.push(await politeRound(`alone-${round}`, "polite"));
  let next = 0;
  const work = async () => {
    while (next < rounds) {
      const round = next++;
      if (round % Math.ceil(rounds / BYSTANDERS) === 0) await startBystander();
      await stressRound(round);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  await supervisor.shutdownAll();
  for (const bystander of bystanders) await endBystander(bystander);

  // Sockets that were closed are gone a turn of the event loop or two later.
  let after = whatIsThere();
  for (let tries = 0; tries < 50 && JSON.stringify(after) !== JSON.stringify(before); tries++) {
    await delay(100);
    after = whatIsThere();
  }
  server.close();
  report(before, after);
}

interface Left {
  "processes bearing the id": number;
  "listening ports of backends": number;
  "file descriptors": number;
  channels: number;
}

function whatIsThere(): Left {
  return {
    "processes bearing the id": bearersOf(run).length,
    "listening ports of backends": listeningPorts().filter((port) => leftPorts.has(port)).length,
    "file descriptors": readdirSync("/proc/self/fd").length,
    channels,
  };
}

/** One backend that ends as soon as it is told to. Returns how much longer its shutdown took than its own end, in ms. */
async function politeRound(name: string, kind: string): Promise<number> {
  const start = startOptions(name, kind);
  await supervisor.start(start);
  await get(`/backend/monitor?model=${name}`);
  const since = performance.now();
  const answer = await post("/backend/shutdown", { model: name });
  const took = performance.now() - since;
  if (answer.status !== 200) problems.push(`${name}: ${answer.body}`);
  checkNothingLeft(start, kind);
  const [, told, ended] = /SIGTERM at (\d+)\nends at (\d+)/.exec(supervisor.logs(name) ?? "") ?? [];
  return took - (Number(ended) - Number(told));
}

async function stressRound(round: number): Promise<void> {
  const name = `model-${round}`;
  const scenario = pick(Object.keys(scenarios) as (keyof typeof scenarios)[]);
  // What has no environment is known by its parents alone. It can't be found where those were killed by somebody else, or
  // before the model was ready, which is when all that is there is taken notice of.
  const findable = /started and stopped|twice/.test(scenario)
    ? KINDS
    : KINDS.filter((kind) => kind !== "bare");
  const kinds = Array.from({ length: Math.floor(random() * 4) }, () => pick(findable));
  const kind = scenario === "polite" ? "polite" : [...new Set(kinds)].join(",");
  for (const what of new Set([scenario, ...kind.split(",")])) counts.set(what, (counts.get(what) ?? 0) + 1);
  const start = startOptions(name, kind);
  try {
    await scenarios[scenario](start, kind);
    const answer = await post("/backend/shutdown", { model: name });
    const isGone = answer.status === 200 || answer.body.includes("model_not_loaded");
    if (!isGone) problems.push(`${name} (${scenario}, ${kind}): ${answer.body}`);
  } catch (error) {
    problems.push(`${name} (${scenario}, ${kind}): ${error instanceof Error ? error.stack : error}`);
    await supervisor.shutdown(name, { timeoutMs: 0 }).catch((reason) => problems.push(`${name}: ${reason}`));
  }
  checkNothingLeft(start, `${scenario}, ${kind}`);
  if (supervisor.get(name)) problems.push(`${name} (${scenario}, ${kind}) is still listed`);
  if (rounds >= 500 && (round + 1) % 250 === 0) console.log(`${round + 1} rounds, ${seconds()} s`);
}

const stop = { timeoutMs: TERMINATE_TIMEOUT_MS };

const scenarios = {
  async "started and stopped"(start: StartOptions) {
    await supervisor.start(start);
    await delay(random() * 50);
    const stopping = random() < 0.5 ? supervisor.shutdown(start.name, stop) : undefined;
    // A host that is busy with something else at the worst time.
    if (random() < 0.1) for (const end = performance.now() + 600; performance.now() < end; );
    await stopping;
  },

  async polite(start: StartOptions) {
    crowded.push(await politeRound(start.name, "polite"));
  },

  async "everything twice at once"(start: StartOptions) {
    const models = await Promise.all([
      supervisor.start(start),
      supervisor.start(start),
      supervisor.start(start),
    ]);
    if (new Set(models).size !== 1) problems.push(`${start.name} was started more than once`);
    const stops = [
      () => supervisor.shutdown(start.name, stop),
      () => post("/backend/shutdown", { model: start.name, force: true }),
    ];
    await Promise.all([...stops, ...stops].map((shutdown) => shutdown()));
  },

  async "killed from outside while it runs"(start: StartOptions) {
    const { pid = 0 } = await supervisor.start(start);
    const isMain = random() < 0.5;
    const exited = isMain && random() < 0.7 ? exitOf(start.name) : undefined;
    kill(isMain ? pid : pick(bearersOf(markOf(start))));
    await exited;
  },

  async "killed from outside while it is stopped"(start: StartOptions) {
    const { pid = 0 } = await supervisor.start(start);
    const stopping = supervisor.shutdown(start.name, stop);
    await delay(random() * 250);
    kill(random() < 0.5 ? pid : pick(bearersOf(markOf(start))));
    await stopping;
  },

  async "stopped while it starts"(start: StartOptions, kind: string) {
    const options = { ...start, args: [backend, "--kind", `${kind},${pick(["never", ""])}`] };
    const started = supervisor.start(options).catch(expectStartError);
    await delay(random() * 150);
    await supervisor.shutdown(start.name, stop);
    await started;
  },

  async "cancelled by its signal"(start: StartOptions, kind: string) {
    const cancel = AbortSignal.timeout(Math.ceil(random() * 120));
    const options = { ...start, args: [backend, "--kind", `${kind},meek`], signal: cancel };
    await supervisor.start(options).catch((error) => {
      if (error !== cancel.reason) throw error;
    });
  },

  async "does not start"(start: StartOptions, kind: string) {
    const args = [backend, "--kind", `${kind},meek,${pick(["failing", "never"])}`];
    const started = supervisor.start({ ...start, args, readyTimeoutMs: 300 });
    const error = await started.then(() => new Error("it did start"), expectStartError);
    if (error) throw error;
  },

  async restarted(start: StartOptions, kind: string) {
    const args = [backend, "--kind", `${kind},meek`];
    const restart = { maxRetries: 5, minDelayMs: 10, maxDelayMs: 100 };
    const first = await supervisor.start({ ...start, args, restart });
    kill(first.pid ?? 0);
    const second = await supervisor.start({ ...start, args, restart });
    if (random() < 0.5) kill(second.pid ?? 0);
  },
};

/** Resolves at the next exit of this model that nobody asked for. */
function exitOf(name: string): Promise<void> {
  return new Promise((resolve) => {
    const onExit = (exit: { name: string }) => {
      if (exit.name !== name) return;
      supervisor.off("exit", onExit);
      resolve();
    };
    supervisor.on("exit", onExit);
  });
}

function expectStartError(error: unknown): void {
  if (!(error instanceof StartError)) throw error;
}

function startOptions(name: string, kind: string): StartOptions {
  return {
    name,
    command: process.execPath,
    args: [backend, "--kind", kind],
    env: { TEST_MARK: `${run}-${name}-` },
  };
}

function markOf({ env }: StartOptions): string {
  return env?.TEST_MARK ?? "";
}

function checkNothingLeft(start: StartOptions, what: string): void {
  for (const pid of bearersOf(markOf(start))) {
    problems.push(`${start.name} (${what}) left process ${pid}: ${readCommandLine(pid)}`);
  }
  for (const port of listeningPorts().filter((listening) => ports.get(start.name)?.has(listening))) {
    problems.push(`${start.name} (${what}) left port ${port}`);
    leftPorts.add(port);
  }
  ports.delete(start.name);
}

/** A process of nobody's here, whose command line looks alike and whose id is next to that of a backend. */
async function startBystander(): Promise<void> {
  const args = [backend, "--kind", "watchful", "--addr", "127.0.0.1:0"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const name = `neighbour-${child.pid}`;
  const { pid = 0 } = await supervisor.start(startOptions(name, ""));
  bystanders.push({ child, distance: pid - (child.pid ?? 0) });
  await supervisor.shutdown(name);
}

async function endBystander({ child }: Bystander): Promise<void> {
  const { pid = 0, stdout } = child;
  const state = stateOf(pid);
  if (child.exitCode !== null || child.signalCode !== null) problems.push("the bystander is gone");
  else if (!/[RS]/.test(state ?? "")) problems.push(`the bystander is in state ${state}`);
  child.kill("SIGKILL");
  const said = stdout ? await text(stdout) : "";
  if (said !== "") problems.push(`the bystander got signals: ${said}`);
}

/** The ports of 127.0.0.1 that somebody listens at. */
function listeningPorts(): number[] {
  const rows = readFileSync("/proc/net/tcp", "latin1")
    .split("\n")
    .map((row) => row.trim().split(/\s+/));
  const ports = rows.flatMap(([, local, , state]) =>
    state === "0A" && local?.startsWith("0100007F:") ? [Number.parseInt(local.slice(9), 16)] : [],
  );
  return ports.sort((a, b) => a - b);
}

async function get(path: string): Promise<void> {
  await send("GET", path);
}

function post(path: string, body: object) {
  return send("POST", path, JSON.stringify(body));
}

async function send(method: string, path: string, body?: string) {
  const headers = { "Content-Type": "application/json" };
  const sent = request({ host: "127.0.0.1", port, method, path, headers, agent: false }).end(body);
  const [response] = await once(sent, "response");
  return { status: response.statusCode as number, body: await text(response) };
}

function seconds(): number {
  return Math.round((performance.now() - startedAt) / 1000);
}

function report(before: Left, after: Left): void {
  console.log(`\n${rounds} rounds with seed ${seed}, ${AT_ONCE} at a time, in ${seconds()} s`);
  for (const [what, count] of [...counts].sort())
    if (what !== "") console.log(`${String(count).padStart(8)}  ${what}`);
  console.log(
    "\nHow much longer a shutdown takes, from the request to its answer, than the backend takes to end, in ms:",
  );
  console.log(`  one at a time:   ${summary(alone)}`);
  console.log(`  ${AT_ONCE} at a time:     ${summary(crowded)}`);
  const distances = bystanders.map(({ distance }) => distance);
  console.log(
    `\n${distances.length} bystanders, with ids next to those of backends: ${distances.join(", ")} apart`,
  );
  console.log("\nAt the end, and before:");
  for (const what of Object.keys(before) as (keyof Left)[]) {
    console.log(`  ${what}: ${after[what] || "none"}, ${before[what] || "none"}`);
    if (after[what] !== before[what]) problems.push(`${what}: ${after[what]} instead of ${before[what]}`);
  }
  console.log(problems.length === 0 ? "\nclean" : `\n${problems.length} problems:\n${problems.join("\n")}`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

function summary(times: number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]?.toFixed(1);
  return sorted.length === 0
    ? "none"
    : `median ${at(0.5)}, 95 % ${at(0.95)}, most ${at(1)} (${sorted.length})`;
}

await main();
