/**
 * Sends what nobody would send: requests to the router, messages and bare bytes to the client that asks backends. Fails at the
 * first answer that CONTRACT.md does not allow or that does not come, and shows the smallest case that gets it; and fails
 * where anything is left at the end, or was printed by the package.
 *
 *   npm run fuzz -- --cases 100000 --seed 1
 *   npm run fuzz -- --seed 1 --path requests:41:0:2
 */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { inspect, parseArgs } from "node:util";
import express from "express";
import { bearerAuth } from "express-backend-monitor";
import fc, { type Arbitrary } from "fast-check";
import { REPORT, type Replies, startBackend } from "./fuzz/backend.js";
import { check } from "./fuzz/contract.js";
import { exchange } from "./fuzz/exchange.js";
import { connections, type WireConnection } from "./fuzz/frames.js";
import { type Host, type Models, SECRET_PATH, startHost } from "./fuzz/host.js";
import { resources } from "./fuzz/left.js";
import { messages, type WireMessages } from "./fuzz/messages.js";
import { kinds } from "./fuzz/models.js";
import { startRawServer } from "./fuzz/raw-server.js";
import { type FuzzRequest, render, requests, TOKEN } from "./fuzz/requests.js";
import { checkConnection, checkMessages, MODEL, monitor } from "./fuzz/wire.js";

/** What goes over the wire takes a connection of its own, and longer where nothing comes. */
const SHARES = { requests: 0.95, messages: 0.04, connections: 0.01 };
type Name = keyof typeof SHARES;

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "100000" },
    seed: { type: "string", default: `${Date.now() & 0x7fffffff}` },
    path: { type: "string", default: "" },
  },
});
const cases = Number(values.cases);
const seed = Number(values.seed);
const [only = "", ...path] = values.path.split(":");
if (!Number.isInteger(cases) || cases < 0 || !Number.isInteger(seed)) {
  console.error(`--cases and --seed take whole numbers, got ${values.cases} and ${values.seed}`);
  process.exit(2);
}
if (only !== "" && !Object.hasOwn(SHARES, only)) {
  console.error(`--path takes what a failure printed, got ${values.path}`);
  process.exit(2);
}
// Until it is known that all is well.
process.exitCode = 1;

/** Only what hangs is late. */
const CASE_WITHIN_MS = 20_000;
const WIRE_TIMEOUT_MS = 100;

const startedAt = performance.now();
const problems: string[] = [];
const counts = new Map<string, number>();

/** What nobody was to see. */
const strays: string[] = [];
process.on("uncaughtException", (error) => strays.push(`uncaught: ${error.stack}`));
process.on("unhandledRejection", (reason) => strays.push(`unhandled: ${inspect(reason)}`));
process.on("warning", (warning) => strays.push(`warning: ${warning.stack}`));

process.stderr.write = (text: string | Uint8Array) => {
  // gRPC has a logger of its own, which is the host's to silence.
  if (!`${text}`.startsWith("E Failed to add metadata entry")) strays.push(`printed: ${text}`);
  return true;
};

// They are opened when they are first asked for: the one by what is written, the other by ps-list, where there is no /proc.
process.stdout;
process.stdin;
const before = resources();
let replies: Replies = {};
let connection: WireConnection | undefined;
const backends = {
  sound: await startBackend(() => ({ Status: REPORT.bytes, Free: Buffer.of(0x10, 1) })),
  bare: await startBackend(() => ({ Health: Buffer.from("\n\u0002OK") })),
  replying: await startBackend(() => replies),
  raw: await startRawServer(() => connection),
};
const hosts = {
  bare: await startHost(),
  "parses all itself": await startHost([
    express.json({ strict: false, type: (req) => req.headers["content-type"] !== undefined }),
  ]),
  guarded: await startHost([], { authorize: bearerAuth([TOKEN]) }),
  "for messages": await startHost(),
  "for connections": await startHost([], {
    statusTimeoutMs: WIRE_TIMEOUT_MS,
    freeTimeoutMs: WIRE_TIMEOUT_MS,
  }),
};

async function main(): Promise<void> {
  await Promise.all([
    fuzz("requests", requests, checkRequest),
    fuzz("messages", messages, checkReplies),
    fuzz("connections", connections, checkBytes),
  ]);
  await closeAll();
  // What was closed is gone a turn of the event loop or two later.
  for (let tries = 0; tries < 100 && left().length > 0; tries++) await delay(100);
  problems.push(...strays, ...left().map((what) => `left: ${what}`));
  report();
}

async function checkRequest(request: FuzzRequest): Promise<string> {
  const host = hosts[request.host];
  const seen = host.see(loadedModels());
  const { framing } = request.body ?? {};
  const answer = await exchange(host.port, render(request), {
    isHead: request.method === "HEAD",
    hangsUp: framing === "long" || framing === "bad chunks",
  });
  return check(request, answer, seen);
}

async function checkReplies(wire: WireMessages): Promise<string> {
  replies = wire.replies;
  const { address } = backends.replying;
  return withWireModel(hosts["for messages"], address, wire, (host) => checkMessages(wire, address, host));
}

async function checkBytes(wire: WireConnection): Promise<string> {
  connection = wire;
  const { address, hangUp } = backends.raw;
  try {
    return await withWireModel(hosts["for connections"], address, wire, (host) =>
      checkConnection(wire, host),
    );
  } finally {
    hangUp();
  }
}

async function withWireModel(
  host: Host,
  address: string,
  { hasProcess }: { hasProcess: boolean },
  checkIt: (host: Host) => Promise<string>,
): Promise<string> {
  const model = { name: MODEL, address, ...(hasProcess ? { pid: process.pid } : {}) };
  host.see(new Map([[MODEL, model]]));
  try {
    return await checkIt(host);
  } finally {
    await forget(host, MODEL);
  }
}

/** Its connection is closed when a model is found not to be loaded any more. */
async function forget(host: Host, model: string): Promise<void> {
  host.see(new Map());
  await monitor(host, model);
}

/** As if a host had shut down: nothing that was opened for it may be left. */
async function closeAll(): Promise<void> {
  for (const host of Object.values(hosts)) {
    for (const model of kinds.keys()) await forget(host, model);
    await host.close();
  }
  for (const backend of Object.values(backends)) backend.stop();
}

function left(): string[] {
  return Object.entries(resources())
    .filter(([kind, count]) => count > (before[kind] ?? 0))
    .map(([kind, count]) => `${count} × ${kind}, ${before[kind] ?? 0} before`);
}

function loadedModels(): Models {
  return new Map(
    Array.from(kinds, ([name, kind]) => {
      if (kind === "bare") return [name, { name, address: backends.bare.address, pid: process.pid }];
      if (kind === "lost") return [name, { name, address: `unix:${SECRET_PATH}` }];
      return [name, { name, address: backends.sound.address, busy: kind === "busy" }];
    }),
  );
}

async function fuzz<T>(name: Name, arbitrary: Arbitrary<T>, checkCase: (value: T) => Promise<string>) {
  if (only !== "" && only !== name) return;
  const property = fc.asyncProperty(arbitrary, async (value) => {
    const known = strays.length;
    const what = await checkCase(value);
    assert.deepEqual(strays.slice(known), []);
    const count = `${name}: ${what}`;
    counts.set(count, (counts.get(count) ?? 0) + 1);
  });
  const details = await fc.check(property, {
    seed,
    path: path.join(":"),
    numRuns: Math.round(cases * SHARES[name]),
    timeout: CASE_WITHIN_MS,
  });
  if (!details.failed) return;
  const [smallest] = details.counterexample ?? [];
  const { errorInstance, counterexamplePath } = details;
  problems.push(
    `${errorInstance instanceof Error ? errorInstance.stack : errorInstance}`,
    `the smallest of ${name} that does it: ${inspect(smallest, { depth: null })}`,
    `again: npm run fuzz -- --seed ${seed} --path ${name}:${counterexamplePath}`,
  );
}

function report(): void {
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  console.log(`${cases} cases with seed ${seed} in ${seconds} s`);
  for (const [what, count] of [...counts].sort()) console.log(`${String(count).padStart(8)}  ${what}`);
  console.log(problems.length === 0 ? "\nclean" : `\n${problems.length} problems:\n${problems.join("\n")}`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

await main();
