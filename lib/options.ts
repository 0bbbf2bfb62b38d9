import { describe, kindOf, quote } from "./message.js";

/** What an option takes, in words that end "takes …", and whether a value is that. */
export interface OptionCheck {
  readonly takes: string;
  readonly accepts: (value: unknown) => boolean;
  readonly required?: boolean;
  /** The value is not to be shown in a message. */
  readonly secret?: boolean;
}

/** A day. Well below what a Node timer can be set to, so that something may be added to it. */
const MAX_MS = 86_400_000;

export const milliseconds: OptionCheck = {
  takes: `a whole number of milliseconds from 0 to ${MAX_MS}`,
  accepts: (value) => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MAX_MS,
};

export const aFunction: OptionCheck = {
  takes: "a function",
  accepts: (value) => typeof value === "function",
};

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

export const bearerToken: OptionCheck = {
  takes: "a token of visible ASCII characters without a space",
  accepts: (value) => typeof value === "string" && /^[\x21-\x7e]+$/.test(value),
  secret: true,
};

/** An object that has these methods. */
export function objectWith(...methods: string[]): OptionCheck {
  return {
    takes: `an object with ${methods.map((method) => `${method}()`).join(", ")}`,
    accepts: (value) =>
      typeof value === "object" &&
      value !== null &&
      methods.every((method) => typeof (value as Record<string, unknown>)[method] === "function"),
  };
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
  if (typeof options !== "object" || options === null) {
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
      const got = check.secret ? kindOf(value) : describe(value);
      throw new TypeError(`${caller}: option "${name}" takes ${check.takes}, got ${got}`);
    }
  }
}
