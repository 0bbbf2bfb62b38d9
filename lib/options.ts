import { describe, kindOf, quote } from "./message.js";

/** What an option takes, in words that end "takes …", and whether a value is that. */
export interface OptionCheck {
  readonly takes: string;
  readonly accepts: (value: unknown) => boolean;
  readonly required?: boolean;
  /** Names what was got instead. By default, that is its kind, and itself where it is short. */
  readonly describe?: (value: unknown) => string;
}

/** A day. Well below what a Node timer can be set to, so that something may be added to it. */
const MAX_MS = 86_400_000;

export const milliseconds = millisecondsFrom(0, MAX_MS);

export function millisecondsFrom(least: number, most: number): OptionCheck {
  return {
    takes: `a whole number of milliseconds from ${least} to ${most}`,
    accepts: (value) => Number.isInteger(value) && Number(value) >= least && Number(value) <= most,
  };
}

export const aString: OptionCheck = {
  takes: "a string",
  accepts: (value) => typeof value === "string",
};

export const aFunction: OptionCheck = {
  takes: "a function",
  accepts: (value) => typeof value === "function",
};

/** A function that takes so many arguments at most, and is none of those that only make such a function. */
export function functionWith(
  maxArguments: number,
  ...makers: ((...args: never[]) => unknown)[]
): Omit<OptionCheck, "takes"> {
  const isMaker = (value: unknown) => makers.some((maker) => maker === value);
  return {
    accepts: (value) => typeof value === "function" && value.length <= maxArguments && !isMaker(value),
    describe: (value) => {
      if (typeof value !== "function") return describe(value);
      return isMaker(value) ? `${value.name} itself; call it` : `a function of ${value.length} arguments`;
    },
  };
}

export const aBoolean: OptionCheck = {
  takes: "true or false",
  accepts: (value) => typeof value === "boolean",
};

export const abortSignal: OptionCheck = {
  takes: "an AbortSignal",
  accepts: (value) => value instanceof AbortSignal,
};

export const nonEmptyString: OptionCheck = {
  takes: "a string that is not empty",
  accepts: (value) => typeof value === "string" && value !== "",
};

export const processId: OptionCheck = {
  takes: "a process id: a whole number from 1",
  accepts: (value) => Number.isSafeInteger(value) && Number(value) > 0,
};

export const processStart: OptionCheck = {
  takes: "a number, as processStartTime() gives it",
  accepts: (value) => Number.isFinite(value),
};

export const bearerToken: OptionCheck = {
  takes: "a token of visible ASCII characters without a space",
  accepts: (value) => typeof value === "string" && /^[\x21-\x7e]+$/.test(value),
  // It may be a secret.
  describe: (value) => (value === "" ? "an empty string" : kindOf(value)),
};

/** An object that has these methods. */
export function objectWith(...methods: string[]): OptionCheck {
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null;
  const missing = (value: Record<string, unknown>) =>
    methods.filter((method) => typeof value[method] !== "function");
  const list = (names: string[]) => names.map((name) => `${name}()`).join(", ");
  return {
    takes: `an object with ${list(methods)}`,
    accepts: (value) => isObject(value) && missing(value).length === 0,
    describe: (value) =>
      isObject(value) ? `${kindOf(value)} without ${list(missing(value))}` : describe(value),
  };
}

/** An array, each of it accepted by `check`. It is not empty, which most likely is a mistake. */
export function someOf(check: OptionCheck): OptionCheck {
  return {
    takes: `an array of at least one: ${check.takes}`,
    accepts: (value) => Array.isArray(value) && value.length > 0 && areAll(value, check),
    describe: (value) =>
      Array.isArray(value) && value.length === 0 ? "an empty array" : nameOfList(value, check),
  };
}

/** The same, and it may be empty. */
export function listOf(check: OptionCheck, items: string): OptionCheck {
  return {
    takes: `an array of ${items}`,
    accepts: (value) => Array.isArray(value) && areAll(value, check),
    describe: (value) => nameOfList(value, check),
  };
}

/** What was left out of an array is undefined. */
function areAll(list: readonly unknown[], check: OptionCheck): boolean {
  return Array.from(list).every(check.accepts);
}

function nameOfList(value: unknown, check: OptionCheck): string {
  if (!Array.isArray(value)) return nameOf(value, check);
  const index = value.findIndex((item) => !check.accepts(item));
  return `an array with ${nameOf(value[index], check)} at index ${index}`;
}

/** The same, or one value in its place. */
export function oneOrSomeOf(check: OptionCheck): OptionCheck {
  const some = someOf(check);
  return {
    ...some,
    takes: `${check.takes}, or an array of at least one`,
    accepts: (value) => check.accepts(value) || some.accepts(value),
  };
}

/** @throws {TypeError} naming the function, what it got and what it takes. */
export function checkValue(caller: string, value: unknown, check: OptionCheck): void {
  if (check.accepts(value)) return;
  throw new TypeError(`${caller} takes ${check.takes}, got ${nameOf(value, check)}`);
}

export function required(check: OptionCheck): OptionCheck {
  return { ...check, required: true };
}

/**
 * Checks what a caller passed, once, when it is passed.
 *
 * @throws {TypeError} naming the function, the option, what it got and what it takes.
 */
export function checkOptions(caller: string, options: unknown, checks: Record<string, OptionCheck>): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`${caller} takes an object of options, got ${describe(options)}`);
  }
  const given = new Map<string, unknown>(Object.entries(options));
  for (const name of given.keys()) {
    if (!Object.hasOwn(checks, name)) {
      throw new TypeError(
        `${caller} has no option ${quote(name)}; its options are ${Object.keys(checks).join(", ")}`,
      );
    }
  }
  for (const [name, check] of Object.entries(checks)) {
    const value = given.get(name);
    if (value === undefined ? check.required : !check.accepts(value)) {
      throw new TypeError(`${caller}: option "${name}" takes ${check.takes}, got ${nameOf(value, check)}`);
    }
  }
}

function nameOf(value: unknown, check: OptionCheck): string {
  return (check.describe ?? describe)(value);
}
