/**
 * Requests per second, latency and CPU of this package beside what it is compared with. Server, backends and load generator
 * are processes of their own. All rows are measured once in each round, one after another; ratios are within a round,
 * and what is shown is the median over the rounds.
 */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { median } from "../median.js";
import type { Backends } from "./backends.js";
import type { Load, Measured } from "./load.js";
import type { Cost, Listening } from "./server.js";

const MODELS = 64;
const TREE = 5;
const IDLE = 2_000;
const CONNECTIONS = [1, 64];
const WARM_UP_SECONDS = 1;

interface Row {
  readonly name: string;
  /** One of the servers in server.ts. */
  readonly server: string;
  readonly backend: "reporting" | "healthOnly";
  readonly models: number;
  /** Idle processes beside it. */
  readonly idle?: number;
}

const ROWS: readonly Row[] = [
  { name: "bare", server: "bare", backend: "reporting", models: 1 },
  { name: "by hand, dialling", server: "dialling", backend: "reporting", models: 1 },
  { name: "by hand", server: "by hand", backend: "reporting", models: 1 },
  { name: `by hand, ${MODELS} models`, server: "by hand", backend: "reporting", models: MODELS },
  { name: "by hand, fallback", server: "by hand, fallback", backend: "healthOnly", models: 1 },
  { name: "monitor, gRPC", server: "monitor", backend: "reporting", models: 1 },
  { name: `monitor, gRPC, ${MODELS} models`, server: "monitor", backend: "reporting", models: MODELS },
  { name: "monitor, fallback", server: "monitor", backend: "healthOnly", models: 1 },
  {
    name: `monitor, fallback, ${IDLE} idle`,
    server: "monitor",
    backend: "healthOnly",
    models: 1,
    idle: IDLE,
  },
];

export interface Figures {
  /** Requests per second. */
  rps: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  /** Seconds of CPU that the server used for 1,000 requests. */
  cpu: number;
}

/** Of one row at one number of connections: the medians over all rounds. */
export interface Result extends Figures {
  row: string;
  connections: number;
  /** Requests per second by those of another row in the same round. */
  toBare: number;
  toByHand: number;
  /** The same of this row's p50 and CPU. */
  p50ToByHand: number;
  cpuToBare: number;
  cpuToByHand: number;
}

export async function measureTable(rounds: number, seconds: number): Promise<Result[]> {
  const backends = await start<Backends>("backends.js", [`${MODELS}`, `${TREE}`]);
  const load = fork(script("load.js"));
  const measured: Map<string, Figures>[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      const figures = new Map<string, Figures>();
      for (const row of ROWS) {
        for (const connections of CONNECTIONS) {
          figures.set(key(row, connections), await measureRow(row, connections, backends, load, seconds));
        }
      }
      measured.push(figures);
      console.error(`round ${round + 1} of ${rounds}`);
    }
  } finally {
    load.disconnect();
    backends.process.disconnect();
  }
  return ROWS.flatMap((row) => CONNECTIONS.map((connections) => summarise(measured, row, connections)));
}

async function measureRow(
  row: Row,
  connections: number,
  backends: Started<Backends>,
  load: ChildProcess,
  seconds: number,
): Promise<Figures> {
  const addresses =
    row.backend === "healthOnly" ? [backends.said.healthOnly] : backends.said.reporting.slice(0, row.models);
  const idle = row.idle ? await startIdle(row.idle) : undefined;
  const server = await start<Listening>("server.js", [row.server, `${backends.process.pid}`, ...addresses]);
  try {
    const order: Load = {
      url: `http://127.0.0.1:${server.said.port}`,
      connections,
      seconds: WARM_UP_SECONDS,
      models: row.models,
    };
    await ask<Measured>(load, order);
    const before = await ask<Cost>(server.process, "cost");
    const measured = await ask<Measured>(load, { ...order, seconds });
    const after = await ask<Cost>(server.process, "cost");
    if (measured.failed > 0) {
      console.error(`${row.name}: ${measured.failed} of ${measured.requests} requests failed`);
    }
    return {
      rps: measured.requests / measured.seconds,
      p50: measured.p50,
      p99: measured.p99,
      cpu: (1000 * (after.cpuSeconds - before.cpuSeconds)) / measured.requests,
    };
  } finally {
    server.process.disconnect();
    await once(server.process, "exit");
    await idle?.();
  }
}

function summarise(measured: readonly Map<string, Figures>[], row: Row, connections: number): Result {
  const each = (value: (own: Figures, bare: Figures, byHand: Figures) => number) =>
    median(
      measured.map((figures) =>
        value(
          find(figures, row.name, connections),
          find(figures, "bare", connections),
          // 64 models are compared with 64 models.
          find(figures, row.models === 1 ? "by hand" : `by hand, ${row.models} models`, connections),
        ),
      ),
    );
  return {
    row: row.name,
    connections,
    rps: each((own) => own.rps),
    p50: each((own) => own.p50),
    p99: each((own) => own.p99),
    cpu: each((own) => own.cpu),
    toBare: each((own, bare) => own.rps / bare.rps),
    toByHand: each((own, _bare, byHand) => own.rps / byHand.rps),
    p50ToByHand: each((own, _bare, byHand) => own.p50 / byHand.p50),
    cpuToBare: each((own, bare) => own.cpu / bare.cpu),
    cpuToByHand: each((own, _bare, byHand) => own.cpu / byHand.cpu),
  };
}

function find(figures: ReadonlyMap<string, Figures>, row: string, connections: number): Figures {
  const found = figures.get(key({ name: row }, connections));
  if (!found) throw new Error(`there is no row ${row}`);
  return found;
}

function key({ name }: { name: string }, connections: number): string {
  return `${name} @ ${connections}`;
}

interface Started<Said> {
  readonly process: ChildProcess;
  /** Its first message, which says that it is ready. */
  readonly said: Said;
}

async function start<Said>(name: string, args: string[]): Promise<Started<Said>> {
  const child = fork(script(name), args);
  const [said] = (await once(child, "message")) as [Said];
  return { process: child, said };
}

async function ask<Answer>(child: ChildProcess, question: string | Load): Promise<Answer> {
  child.send(question);
  const [answer] = (await once(child, "message")) as [Answer];
  return answer;
}

function script(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** Processes that do nothing; returns what ends them. */
async function startIdle(count: number): Promise<() => Promise<void>> {
  const child = spawn("sh", ["-c", `for _ in $(seq ${count}); do sleep 600 & done; wait`], {
    stdio: "ignore",
    detached: true,
  });
  const children = () => readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim();
  while (children().split(" ").length < count) await delay(50);
  const pids = children().split(" ");
  return async () => {
    // The group that it leads, which nobody else is in.
    process.kill(-(child.pid ?? Number.NaN), "SIGKILL");
    while (pids.some((pid) => existsSync(`/proc/${pid}`))) await delay(50);
  };
}
