/**
 * What becomes of models in a soak: each lives a life of its own, from its start or its registration until it is stopped,
 * crashes or is dropped, and then another one takes its place. At all times a model knows what is to be answered for it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once, setMaxListeners } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { LoadedModel, Registration, StartOptions } from "express-backend-monitor";
import { isThere, kill, stateOf } from "../kernel.js";
import { pickFrom, type Random } from "../random.js";
import {
  count,
  DEADLINE_MS,
  events,
  HANGS,
  monitor,
  NEITHER,
  NOT_LOADED,
  post,
  problems,
  REPORTED,
  SAMPLED,
  STOPPED,
  send,
  tell,
} from "./talk.js";

/** How long a model may take to be answered as ever: a stubborn worker has ten seconds to end. */
const SETTLE_MS = 15_000;

/** All processes that are started for this run have it in their environment. */
export const run = randomUUID();

export const over = new AbortController();
setMaxListeners(0, over.signal);
/** A pause that is over when the run is. */
export const pause = (ms: number) => delay(ms, undefined, { signal: over.signal }).catch(() => {});

/** Those that the host has not started. */
const backends = new Set<ChildProcess>();
process.on("exit", () => {
  for (const backend of backends) backend.kill("SIGKILL");
});

export class Model {
  pid = 0;
  address = "";
  child: ChildProcess | undefined;
  /** What is answered as long as this is the same object; `undefined` while something is being done to the model. */
  expected: { readonly outcome: string } | undefined;
  readonly name: string;
  /** What is answered while its backend is left alone. */
  readonly normal: string;

  constructor(name: string, normal: string) {
    this.name = name;
    this.normal = normal;
  }

  expect(outcome: string): void {
    this.expected = { outcome };
  }
}

type Act = (model: Model, random: Random) => Promise<void>;

export interface Life {
  readonly begin: Act;
  readonly normal: string;
  readonly acts: readonly Act[];
  readonly ends: readonly Act[];
}

/** The models that there are, and those that have gone and are still asked for. */
export const models = new Map<Life, Model>();
/** Names that may not have been asked for since their models went. */
export const gone = new Set<string>();

export async function live(life: Life, random: Random, restMs: number): Promise<void> {
  for (let number = 1; !over.signal.aborted; number++) {
    const model = new Model(`model ${lives.indexOf(life)}/${number}`, life.normal);
    const act = async (act: Act) => {
      if (act.name !== "") count(events, act.name);
      await act(model, random);
    };
    try {
      await act(life.begin);
      models.set(life, model);
      await pause(random() * restMs);
      let left = life.acts.length && Math.floor(random() * 4);
      while (left-- > 0 && !over.signal.aborted) {
        await act(pickFrom(life.acts, random));
        await pause(random() * restMs);
      }
      await act(pickFrom(life.ends, random));
      gone.add(model.name);
      await pause((random() * restMs) / 4);
    } catch (error) {
      problems.push(`${model.name}: ${error instanceof Error ? error.stack : error}`);
      return;
    }
  }
}

export function supervised(kind: string, normal: string, restart?: StartOptions["restart"]): Life {
  const options = {
    command: process.execPath,
    args: [backend, "--kind", kind],
    env: { TEST_MARK: run },
    restart,
  };
  const crashes: Act = restart ? crashAndRestart : crashForGood;
  return {
    normal,
    begin: async function start(model) {
      Object.assign(model, await tell("start", { ...options, name: model.name }));
      model.expect(normal);
    },
    acts: restart ? [hang, crashes] : [hang],
    ends: restart ? [...stops] : [...stops, crashes],
  };
}

/** The host knows its process by its id, or is to look for it. */
export function registered(kind: string, normal: string, isIdGiven: boolean): Life {
  const registration = ({ name, address, pid }: Model): Registration => ({
    name,
    address,
    pid: isIdGiven ? pid : undefined,
  });
  async function begin(model: Model) {
    await startBackend(model, kind);
    await tell("register", registration(model));
  }
  return {
    normal,
    begin: async function register(model) {
      model.address = await freeAddress();
      await begin(model);
      await settle(model);
    },
    acts: [
      hang,
      async function crashAndComeBack(model, random) {
        await die(model);
        await pause(random() * 3_000);
        model.expected = undefined;
        await begin(model);
        await settle(model);
      },
      async function unregisterAndRegister(model, random) {
        await unregister(model);
        await pause(random() * 3_000);
        model.expected = undefined;
        await tell("register", registration(model));
        await settle(model);
      },
    ],
    ends: [
      ...stops,
      async function unregisterAndEnd(model) {
        await unregister(model);
        await endBackend(model);
      },
      async function crashAndUnregister(model, random) {
        await die(model);
        await pause(random() * 3_000);
        await unregister(model);
      },
    ],
  };
}

/** At an address where nobody is. */
export const nobody: Life = {
  normal: NEITHER,
  begin: async function registerNobody(model) {
    model.address = await freeAddress();
    await tell("register", { name: model.name, address: model.address });
    model.expect(NEITHER);
  },
  acts: [
    async function failToStop(model) {
      const outcome = await send("/backend/shutdown", post({ model: model.name }));
      if (outcome !== NEITHER) problems.push(`${model.name} can't be stopped, and the answer is ${outcome}`);
    },
  ],
  ends: [unregister],
};

/** It is left alone for the whole run. */
function bystander(kind: string, normal: string): Life {
  const { begin } = registered(kind, normal, true);
  return {
    normal,
    begin,
    acts: [],
    ends: [
      async function leaveAlone(model, random) {
        while (!over.signal.aborted) await pause(60_000);
        await stop(model, random);
      },
    ],
  };
}

async function hang(model: Model, random: Random): Promise<void> {
  await freeze(model);
  await pause(1_000 + random() * 3_000);
  model.expected = undefined;
  kill(model.pid, "SIGCONT");
  await settle(model);
}

async function freeze(model: Model): Promise<void> {
  model.expected = undefined;
  kill(model.pid, "SIGSTOP");
  await until(() => stateOf(model.pid) === "T", "it to be frozen");
  // Until then, an answer may be shared of which the first half was got before.
  await pause(DEADLINE_MS);
  model.expect(HANGS);
}

async function crashAndRestart(model: Model): Promise<void> {
  const { pid } = model;
  model.expected = undefined;
  kill(pid);
  await until(async () => {
    const next = await tell("get", model.name);
    if (next?.pid === undefined || next.pid === pid) return false;
    Object.assign(model, next satisfies LoadedModel);
    return true;
  }, "its restart");
  await settle(model);
}

async function crashForGood(model: Model): Promise<void> {
  model.expected = undefined;
  kill(model.pid);
  await until(async () => (await tell("get", model.name)) === undefined, "it to be off the list");
  model.expect(NOT_LOADED);
}

async function die(model: Model): Promise<void> {
  model.expected = undefined;
  await endBackend(model);
  model.expect(NEITHER);
}

async function unregister(model: Model): Promise<void> {
  model.expected = undefined;
  await tell("unregister", model.name);
  model.expect(NOT_LOADED);
}

export const stop = stopWith({});
const stops: readonly Act[] = [
  named("stop", stop),
  named("stopByForce", stopWith({ force: true })),
  named("stopTwice", stopWith({}, {})),
  named("stopTwiceAndByForce", stopWith({}, { force: true }, {})),
  async function stopWhileItHangs(model, random) {
    await freeze(model);
    await stop(model, random);
  },
];

/** Stops a model with as many requests at once, and sees that it is true. */
function stopWith(...bodies: object[]): Act {
  return async (model) => {
    model.expected = undefined;
    const answers = await Promise.all(
      bodies.map((body) => send("/backend/shutdown", post({ model: model.name, ...body }))),
    );
    // Those that come late find it gone.
    const isStopped =
      answers.includes(STOPPED) && answers.every((answer) => [STOPPED, NOT_LOADED].includes(answer));
    if (!isStopped) problems.push(`${model.name} was to be stopped: ${answers.join(", ")}`);
    model.expect(NOT_LOADED);
    if (isThere(model.pid)) problems.push(`${model.name} is stopped, and process ${model.pid} is there`);
    if (await isListening(model.address))
      problems.push(`${model.name} is stopped, and ${model.address} answers`);
  };
}

function named(name: string, act: Act): Act {
  return Object.defineProperty(act, "name", { value: name });
}

/** Waits until a model is answered as ever. */
async function settle(model: Model): Promise<void> {
  await until(async () => (await monitor(model.name)) === model.normal, model.normal);
  model.expect(model.normal);
}

export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const giveUpAt = performance.now() + SETTLE_MS;
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) throw new Error(`waited in vain for ${what}`);
    await delay(20);
  }
}

const backend = fileURLToPath(new URL("../../../__tests__/processes/backend.mjs", import.meta.url));

async function startBackend(model: Model, kind: string): Promise<void> {
  const args = [backend, "--kind", `${kind},announced`, "--addr", model.address];
  const env = { ...process.env, TEST_MARK: run };
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  backends.add(child);
  child.on("exit", () => backends.delete(child));
  model.child = child;
  model.pid = child.pid ?? 0;
  const isReady = once(child.stdout, "data").then(() => true);
  const isGone = once(child, "exit").then(() => false);
  if (!(await Promise.race([isReady, isGone]))) throw new Error("its backend did not start");
}

async function endBackend({ child }: Model): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

/** Below the ports that the kernel gives by itself, so that nobody else gets it when its backend is gone; none comes twice. */
let lastPort = 10_000 + Math.floor(Math.random() * 10_000);
async function freeAddress(): Promise<string> {
  for (;;) {
    const server = createServer();
    const listening = once(server, "listening");
    const port = ++lastPort;
    server.listen(port, "127.0.0.1");
    try {
      await listening;
    } catch {
      continue;
    }
    server.close();
    await once(server, "close");
    return `127.0.0.1:${port}`;
  }
}

async function isListening(address: string): Promise<boolean> {
  const socket = connect(Number(address.split(":")[1]), "127.0.0.1");
  return once(socket, "connect")
    .then(
      () => true,
      () => false,
    )
    .finally(() => socket.destroy());
}

const restart = { minDelayMs: 100 };
export const reporting = bystander("reports", REPORTED);
export const plain = bystander("", SAMPLED);
export const lives: readonly Life[] = [
  reporting,
  plain,
  nobody,
  { ...nobody },
  supervised("reports", REPORTED),
  supervised("reports", REPORTED, restart),
  supervised("", SAMPLED),
  supervised("session,meek", SAMPLED, restart),
  supervised("session,daemon", SAMPLED),
  supervised("stuck", HANGS, restart),
  registered("reports", REPORTED, true),
  registered("reports", REPORTED, false),
  registered("", SAMPLED, true),
  registered("", SAMPLED, false),
];
