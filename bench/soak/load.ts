/** What is asked of the host in a soak: models by pollers and in bursts, many that are there for a moment only, and oddly. */
import { once } from "node:events";
import { Agent } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { pickFrom, type Random } from "../random.js";
import { gone, type Model, models, nobody, over, pause, plain, reporting } from "./lives.js";
import {
  count,
  DEADLINE_MS,
  JSON_TYPE,
  monitor,
  NEITHER,
  NOT_LOADED,
  ON_THE_WAY,
  open,
  outcomeOf,
  outcomes,
  post,
  problems,
  type Sent,
  send,
  sum,
  tell,
} from "./talk.js";

const POLLERS = 5;
const CONNECTIONS = 20;
const POLL_MS = 400;
const BURST_MS = 5_000;
const BURST = 100;
const ODD_MS = 200;
const GUEST_MS = 100;
const GUESTS_AT_ONCE = 3;
const TOO_BUSY = "not as expected, after the deadline";
/** The machine may be busy, and a burst is a hundred at once. */
const LATE_MS = 15_000;

/** Goes on until the run is over. */
export async function load(random: () => Random): Promise<void> {
  const pollers = Array.from({ length: POLLERS }, () => poll(random()));
  const guests = Array.from({ length: GUESTS_AT_ONCE }, (_, index) => haveGuests(index, random()));
  await Promise.all([...pollers, ...guests, burst(random()), askOddly(random())]);
}

/** Asks for a model. Where nothing was done to it meanwhile, it is to be answered right, and in time. */
async function check(model: Model, random: Random, agent?: Agent): Promise<void> {
  const { expected } = model;
  const askedAt = performance.now();
  const outcome = await monitor(model.name, agent, random);
  const isUntouched = expected !== undefined && expected === model.expected;
  judge(model.name, outcome, isUntouched ? expected.outcome : undefined, performance.now() - askedAt);
}

export async function expectOf(name: string, expected: string, agent?: Agent): Promise<void> {
  const askedAt = performance.now();
  judge(name, await monitor(name, agent), expected, performance.now() - askedAt);
}

/** Where the deadline has passed, the machine may have been too busy for the backend; that must not become the rule. */
function judge(name: string, outcome: string, expected: string | undefined, tookMs: number): void {
  const isPossible = ON_THE_WAY.test(outcome);
  if (isPossible && expected !== undefined && outcome !== expected && tookMs > DEADLINE_MS) {
    count(outcomes, TOO_BUSY);
    if ((outcomes.get(TOO_BUSY) ?? 0) > 10 + sum(outcomes) / 100)
      problems.push(`${name}: ${outcome}, as too often`);
  } else if (outcome !== expected && (expected !== undefined || !isPossible)) {
    problems.push(`${name}: ${outcome}${expected === undefined ? "" : ` instead of ${expected}`}`);
  } else if (tookMs > LATE_MS) problems.push(`${name} is answered after ${Math.round(tookMs)} ms`);
}

async function poll(random: Random): Promise<void> {
  const ask = async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (await pause(random() * POLL_MS); !over.signal.aborted; await pause(POLL_MS)) {
      await check(pickFrom([...models.values()], random), random, agent);
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, ask));
}

async function burst(random: Random): Promise<void> {
  for (await pause(BURST_MS); !over.signal.aborted; await pause(BURST_MS)) {
    const model = pickFrom([...models.values()], random);
    await Promise.all(Array.from({ length: BURST }, () => check(model, random)));
  }
}

/** Many models that are there for a moment only; every other one is not asked for any more once it is gone. */
async function haveGuests(index: number, random: Random): Promise<void> {
  for (let number = 1; !over.signal.aborted; number++) {
    const name = `guest ${index}/${number}`;
    const isAlone = random() < 0.1;
    const { address, pid, normal } = models.get(pickFrom([reporting, plain, plain], random)) as Model;
    const nowhere = models.get(nobody) as Model;
    await tell("register", isAlone ? { name, address: nowhere.address } : { name, address, pid });
    await expectOf(name, isAlone ? NEITHER : normal);
    await tell("unregister", name);
    if (random() < 0.5) await expectOf(name, NOT_LOADED);
    else gone.add(name);
    await pause(GUEST_MS);
  }
}

const INVALID = "400 invalid_request_error";
async function askOddly(random: Random): Promise<void> {
  for (let number = 1; !over.signal.aborted; number++) {
    const unheardOf = { model: `unheard of ${number}` };
    const odd: readonly (readonly [outcome: string, path: string, sent: Sent])[] = [
      [INVALID, "/backend/monitor", {}],
      [INVALID, "/backend/monitor?model=", {}],
      [INVALID, "/backend/monitor?model=a&model=b", {}],
      [INVALID, "/v1/backend/monitor?model=%00", {}],
      [INVALID, "/backend/shutdown", { ...post({}), body: "{" }],
      [INVALID, "/v1/backend/shutdown", post({ model: 42 })],
      [INVALID, "/backend/shutdown", { ...post(unheardOf), headers: { "content-type": "text/plain" } }],
      ["405 invalid_request_error", "/backend/shutdown", {}],
      ["405 invalid_request_error", "/v1/backend/monitor", { method: "DELETE" }],
      ["413 invalid_request_error", "/backend/shutdown", post({ model: "x".repeat(20_000) })],
      [
        "415 invalid_request_error",
        "/backend/shutdown",
        { ...post({}), headers: { "content-type": "application/json; charset=koi8-r" } },
      ],
      ["404", "/backend/Monitor?model=m", {}],
      [NOT_LOADED, `/backend/monitor?model=unheard+of+${number}`, {}],
      [NOT_LOADED, "/backend/shutdown", post(unheardOf)],
    ];
    const [expected, path, sent] = pickFrom(odd, random);
    const outcome = await send(path, sent);
    if (outcome !== expected)
      problems.push(`${path} ${JSON.stringify(sent)}: ${outcome} instead of ${expected}`);
    await pickFrom([hangUp, hangUpInTheBody, sendSlowly], random)(random);
    await pause(ODD_MS);
  }
}

async function hangUp(random: Random): Promise<void> {
  const { name } = pickFrom([...models.values()], random);
  const asked = open(`/backend/monitor?model=${encodeURIComponent(name)}`).on("error", () => {});
  asked.on("response", (response) => response.resume()).end();
  await delay(random() * 30);
  asked.destroy();
  count(outcomes, "hung up");
}

async function hangUpInTheBody(random: Random): Promise<void> {
  const headers = { ...JSON_TYPE, "content-length": "100" };
  const asked = open("/backend/shutdown", { method: "POST", headers }).on("error", () => {});
  asked.write('{"model": ');
  await delay(random() * 30);
  asked.destroy();
  count(outcomes, "hung up");
}

async function sendSlowly(): Promise<void> {
  const asked = open("/backend/shutdown", { method: "POST", headers: JSON_TYPE });
  const answered = once(asked, "response");
  for (const piece of ['{"mod', 'el": "unhe', 'ard of"}']) {
    asked.write(piece);
    await delay(100);
  }
  asked.end();
  const [response] = await answered;
  const outcome = outcomeOf(response.statusCode, response.headers, await text(response));
  count(outcomes, outcome);
  if (outcome !== NOT_LOADED) problems.push(`a slow body: ${outcome} instead of ${NOT_LOADED}`);
}
