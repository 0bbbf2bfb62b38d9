import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { grpcBackendClient, type InMemoryModelRegistry, type ModelRegistry } from "../../lib/index.js";
import { type Host, REPORT, undisturbed } from "../support/faults.js";
import { json } from "../support/http.js";
import { startScript } from "../support/processes.js";

/** Throws itself at whatever is done with it. */
const untouchable: object = new Proxy(() => {}, {
  get: throwUntouchable,
  has: throwUntouchable,
  ownKeys: throwUntouchable,
  getOwnPropertyDescriptor: throwUntouchable,
  getPrototypeOf: throwUntouchable,
  apply: throwUntouchable,
});
function throwUntouchable(): never {
  throw untouchable;
}

const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};

const withGetter = (name: string) => ({
  address: "127.0.0.1:1",
  get [name]() {
    throw new Error("not today");
  },
});

const huge = () =>
  Object.fromEntries(Array.from({ length: 300_000 }, (_, index) => [`member ${index}`, index]));

class Unprintable extends Error {
  [inspect.custom]() {
    throw new Error("no word of it");
  }
}

const rejected = (reason: unknown) => {
  const promise = Promise.reject(reason);
  promise.catch(() => {});
  return promise;
};

type Fault = () => unknown;
const throws = (thrown: unknown): Fault => {
  return () => {
    throw thrown;
  };
};
const thenable = (then: unknown): Fault => {
  return () => ({ then });
};

/** What no method may do, and what has to end at once. */
const FAILURES: Record<string, Fault> = {
  "throws an error": throws(new Error("secret")),
  "throws nothing at all": throws(undefined),
  "throws a string": throws("secret"),
  "throws what can't be touched": throws(untouchable),
  "throws what can't be printed": throws(new Unprintable("secret")),
  "throws a revoked proxy": throws(revoked()),
  "rejects with nothing at all": () => rejected(undefined),
  "rejects with what can't be touched": () => rejected(untouchable),
  "gives a thenable that throws": thenable(throws(new Error("secret"))),
  "gives a thenable that rejects, and then throws": thenable((_: unknown, reject: (error: Error) => void) => {
    reject(new Error("secret"));
    throw new Error("too late");
  }),
  "gives a thenable that can't be asked": () => withGetter("then"),
  "gives what can't be touched": () => untouchable,
  "gives a revoked proxy": revoked,
};

const NEVER_ENDS: Record<string, Fault> = {
  "never answers": () => new Promise(() => {}),
  "gives a thenable that never answers": thenable(() => {}),
};

/** What is neither a model nor `undefined`. */
const NO_MODEL: Record<string, Fault> = {
  "a number": () => 42,
  "a string": () => "127.0.0.1:1",
  true: () => true,
  "a symbol": () => Symbol("model"),
  "a function": () => () => {},
  "an array": () => [{ address: "127.0.0.1:1" }],
  "a map": () => new Map([["address", "127.0.0.1:1"]]),
  "an object of nothing": () => Object.create(null),
  "a huge object": () => huge,
};

/** Wrong types in every member that is read. */
const WRONG_MEMBERS: Record<string, Fault> = Object.fromEntries([
  ...[undefined, null, "", 42, 1n, [], {}, Symbol("x"), ["127.0.0.1:1"], new String("127.0.0.1:1")].map(
    (address) => [`the address ${describeValue(address)}`, () => ({ address })],
  ),
  ...[null, "", "42", 0, -1, 1.5, 1n, Number.NaN, 2 ** 53, Infinity, [42], {}, Symbol("x")].map((pid) => [
    `the pid ${describeValue(pid)}`,
    () => ({ address: "127.0.0.1:1", pid }),
  ]),
  ...[null, "", "42", 1n, Number.NaN, Infinity, [42], {}, Symbol("x")].map((startTime) => [
    `the start time ${describeValue(startTime)}`,
    () => ({ address: "127.0.0.1:1", pid: 1, startTime }),
  ]),
  ...["address", "pid", "startTime"].map((member) => [
    `a ${member} that throws when it is read`,
    () => withGetter(member),
  ]),
]);

function describeValue(value: unknown): string {
  return typeof value === "object" && value !== null
    ? JSON.stringify(value)
    : `${String(value)} (${typeof value})`;
}

/** Asks all at once, and gives the type of each answer, or what it says where it is a success. */
async function outcomes(faults: object, ask: (model: string) => ReturnType<Host["send"]>) {
  const outcome = async (model: string) => {
    const { status, headers, json } = await ask(model);
    expect(headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(json.error?.code ?? 200).toBe(status);
    return [model, json.error?.type ?? json];
  };
  return Object.fromEntries(await Promise.all(Object.keys(faults).map(outcome)));
}

const all = (faults: object, outcome: unknown) =>
  Object.fromEntries(Object.keys(faults).map((model) => [model, outcome]));

describe("get", () => {
  it("is an internal error whatever it does, and the logger is told", async () => {
    const faults = { ...FAILURES, ...NEVER_ENDS, ...NO_MODEL, ...WRONG_MEMBERS };
    const { logger, told } = listening();
    await undisturbed(
      async ({ monitor, send }) => {
        expect(await outcomes(faults, monitor)).toEqual(all(faults, "internal_error"));
        const stop = (model: string) => send("/backend/shutdown", json({ model }));
        expect(await outcomes(faults, stop)).toEqual(all(faults, "internal_error"));
      },
      {
        logger,
        registryOf: (models) => registryWith(models, { get: byFault(faults, (name) => models.get(name)) }),
      },
    );
    expect(told(faults)).toEqual(all(faults, 2));
  });

  it("may give a thenable of any kind, and what it says first is what counts", async () => {
    const { pid, words } = await startScript("reporting.mjs");
    const model = { address: `127.0.0.1:${words[0]}`, pid };
    const faults = {
      "resolves at once": thenable((resolve: (model: object) => void) => resolve(model)),
      "resolves twice": thenable((resolve: (model: object | undefined) => void) => {
        resolve(model);
        resolve(undefined);
      }),
      "resolves, and then throws": thenable((resolve: (model: object) => void) => {
        resolve(model);
        throw new Error("too late");
      }),
    };
    let isLoaded = true;
    const nothing = { null: () => null, "a promise of null": async () => null };
    await undisturbed(
      async ({ monitor }) => {
        expect(await outcomes(faults, monitor)).toEqual(all(faults, REPORT));
        expect(await outcomes(nothing, monitor)).toEqual(all(nothing, "model_not_loaded"));
        isLoaded = false;
        expect(await outcomes(faults, monitor)).toEqual(all(faults, "model_not_loaded"));
      },
      {
        registryOf: (models) => {
          const get = byFault({ ...faults, ...nothing }, (name) => models.get(name));
          return registryWith(models, {
            get: (name) => (isLoaded || !(name in faults) ? get(name) : undefined),
          });
        },
      },
    );
  });

  it("that fails when the model has been stopped is an internal error too", async () => {
    const faults = { ...FAILURES, ...NO_MODEL };
    const stopped = new Set<string>();
    const { logger, told } = listening();
    await undisturbed(
      async ({ send }) => {
        const stop = (model: string) => send("/backend/shutdown", json({ model, force: true }));
        expect(await outcomes(faults, stop)).toEqual(all(faults, "internal_error"));
        expect([...stopped]).toEqual(Object.keys(faults));
      },
      {
        logger,
        registryOf: (models) => {
          const get = byFault(faults, (name) => models.get(name));
          return registryWith(models, {
            get: (name) => (name in faults && !stopped.has(name) ? { name, address: NOWHERE } : get(name)),
            shutdown: (name) => void stopped.add(name),
          });
        },
      },
    );
    expect(told(faults)).toEqual(all(faults, 1));
  });

  it("may say anything of busy: a shutdown waits for no longer than it may", async () => {
    const busy: Record<string, unknown> = {
      "a word": "no",
      "an object": {},
      "a number": 1,
      "a symbol": Symbol("x"),
    };
    const thrown: Record<string, unknown> = {
      "an error": new Error("secret"),
      "what can't be touched": untouchable,
    };
    const { logger, lines } = listening();
    const get = (name: string) => ({
      name,
      address: NOWHERE,
      get busy(): never {
        if (name in thrown) throw thrown[name];
        return busy[name] as never;
      },
    });
    await undisturbed(
      async ({ send }) => {
        const stop = (model: string) => send("/backend/shutdown", json({ model }));
        expect(await outcomes(busy, stop)).toEqual(all(busy, "model_busy"));
        expect(await outcomes(thrown, stop)).toEqual(all(thrown, "internal_error"));
      },
      {
        logger,
        drainTimeoutMs: 200,
        registryOf: (models) =>
          registryWith(models, {
            get: (name) => (name in busy || name in thrown ? get(name) : models.get(name)),
          }),
      },
    );
    expect(lines).toHaveLength(2);
  });
});

describe("shutdown and cancelStart", () => {
  it("are an internal error where they fail, and are given up where they never end", async () => {
    const faults = { ...FAILURES, ...NEVER_ENDS };
    const isUnlisted = (name: string) => name.startsWith("unlisted: ");
    const unlisted = Object.fromEntries(
      Object.entries(faults).map(([name, fault]) => [`unlisted: ${name}`, fault]),
    );
    const both: Record<string, Fault> = { ...faults, ...unlisted };
    const { logger, lines } = listening();
    let isLoaded = true;
    await undisturbed(
      async ({ monitor, send }) => {
        const stop = (model: string) => send("/backend/shutdown", json({ model, force: true }));
        const stopped = await outcomes(both, stop);
        for (const [name, type] of Object.entries(stopped)) {
          const fault = name.replace("unlisted: ", "");
          expect([name, type]).toEqual([name, fault in NEVER_ENDS ? "backend_error" : "internal_error"]);
        }
        expect(lines).toHaveLength(Object.keys(both).length);
        // What could not be stopped is listed still.
        expect(await outcomes(faults, monitor)).toEqual(all(faults, "backend_error"));
        isLoaded = false;
        expect(await outcomes(faults, monitor)).toEqual(all(faults, "model_not_loaded"));
      },
      {
        logger,
        terminateTimeoutMs: 0,
        registryOf: (models) =>
          registryWith(models, {
            get: (name) => {
              if (!(name in both)) return models.get(name);
              return isLoaded && !isUnlisted(name) ? { name, address: NOWHERE } : undefined;
            },
            shutdown: byFault(faults, () => {}),
            cancelStart: byFault(unlisted, () => {}),
          }),
      },
    );
  });

  it("may answer anything: what counts is whether the model is gone", async () => {
    const faults = {
      ...NO_MODEL,
      "resolves twice": thenable((resolve: () => void) => [resolve(), resolve()]),
    };
    const { logger, told } = listening();
    let isStopping = false;
    const stopped = new Set<string>();
    await undisturbed(
      async ({ send }) => {
        const stop = (model: string) => send("/backend/shutdown", json({ model, force: true }));
        expect(await outcomes(faults, stop)).toEqual(all(faults, "internal_error"));
        isStopping = true;
        expect(await outcomes(faults, stop)).toEqual(all(faults, { message: "model stopped" }));
        expect(await outcomes(faults, stop)).toEqual(all(faults, "model_not_loaded"));
      },
      {
        logger,
        registryOf: (models) => {
          const answer = byFault(faults, () => {});
          const get = (name: string) => (stopped.has(name) ? undefined : { name, address: NOWHERE });
          const shutdown = (name: string) => {
            if (isStopping) stopped.add(name);
            return answer(name);
          };
          return registryWith(models, {
            get: (name) => (name in faults ? get(name) : models.get(name)),
            shutdown,
            cancelStart: answer,
          });
        },
      },
    );
    expect(told(faults)).toEqual(all(faults, 1));
  });
});

describe("list", () => {
  const { "throws an error": throwing, "rejects with what can't be touched": rejecting } = FAILURES;
  const { "never answers": never } = NEVER_ENDS;

  it.each([
    ["throws", throwing],
    ["rejects with what can't be touched", rejecting],
    ["never answers", never],
    ["gives a number", () => 42],
    ["gives nothing of what there is", () => []],
    ["gives models that are none", () => [null, 42, undefined]],
    ["gives a model that throws when it is read", () => [withGetter("name")]],
    ["gives an object that maps to nonsense", () => ({ map: () => 42 })],
  ])("disturbs nobody where it %s", async (_what, list) => {
    const MANY = 40;
    let listed = 0;
    const report = { state: 2, memory: { total: 1n, breakdown: {} } };
    const reporting = {
      status: async () => report,
      health: async () => true,
      free: async () => {},
      close() {},
    };
    const connect = grpcBackendClient();
    await undisturbed(
      async ({ models, monitor }) => {
        for (let model = 0; model < MANY; model++) {
          models.register({ name: `${model}`, address: NOWHERE, pid: process.pid });
          expect((await monitor(`${model}`)).json).toMatchObject({ state: 2, memory: { total: 1 } });
        }
        expect(listed).toBe(1);
      },
      {
        createClient: (model) => (model.address === NOWHERE ? reporting : connect(model)),
        registryOf: (models) =>
          registryWith(models, {
            list: () => {
              listed++;
              return list?.() as never;
            },
          }),
      },
    );
  });
});

const NOWHERE = "127.0.0.1:1";

/** A method of the registry that is at fault for the models that are named after a fault. */
function byFault<T>(faults: Record<string, Fault>, method: (name: string) => T): (name: string) => T {
  return (name) => (faults[name] ? (faults[name]() as T) : method(name));
}

/** A logger, and how often it was told of each model. */
function listening() {
  const lines: string[] = [];
  const logger = { info: () => {}, error: (line: string) => lines.push(line) };
  const told = (models: object) =>
    Object.fromEntries(
      Object.keys(models).map((model) => [
        model,
        lines.filter(
          (line) =>
            line.startsWith("express-backend-monitor: ") && line.includes(`model ${JSON.stringify(model)}`),
        ).length,
      ]),
    );
  return { logger, lines, told };
}

function registryWith(models: InMemoryModelRegistry, methods: Partial<ModelRegistry>): ModelRegistry {
  return {
    get: (name) => models.get(name),
    list: () => models.list(),
    shutdown: (name, options) => models.shutdown(name, options),
    ...methods,
  };
}
