import { grpcTarget } from "../grpc-target.js";
import { kindOf, quote } from "../message.js";
import { modelName } from "../model.js";
import {
  abortSignal,
  aString,
  checkOptions,
  listOf,
  milliseconds,
  nonEmptyString,
  type OptionCheck,
  required,
} from "../options.js";

/** A backend to start. */
export interface StartOptions {
  /** What requests call the model. */
  name: string;
  /** The program that is started, without a shell: a path, or a name that is looked for on the `PATH`. */
  command: string;
  /**
   * Its arguments. The address stands where they have `{address}`; where none has, `--addr` and the address are
   * appended, as LocalAI does it. Default: none.
   */
  args?: readonly string[] | undefined;
  /** Variables that its environment has beside those of this process; `undefined` takes one away. */
  env?: NodeJS.ProcessEnv | undefined;
  /** The folder that it is started in. Default: that of this process. */
  cwd?: string | undefined;
  /** The gRPC target that it is to listen at; `127.0.0.1:50051`, `unix:/run/llama.sock`, …. Default: a free port of `127.0.0.1`. */
  address?: string | undefined;
  /** How long it may take until its `Health` says `OK`, in milliseconds. Default 60,000. */
  readyTimeoutMs?: number | undefined;
  /** Starts it again where it ends though nobody asked it to. Default: it is not. */
  restart?: RestartPolicy | undefined;
  /** Cancels the start. Where others wait for the same start, it goes on for them. */
  signal?: AbortSignal | undefined;
}

/** When a backend is started again that ended though nobody asked it to. */
export interface RestartPolicy {
  /** After how many restarts in a row it is given up. Default 5. */
  maxRetries?: number | undefined;
  /** The pause before the first restart, in milliseconds; before each one after it, it is twice as long. Default 1,000. */
  minDelayMs?: number | undefined;
  /**
   * The longest pause, in milliseconds. Where a backend has been ready for longer than this, and for a minute at least, the
   * restarts are counted anew. Default 60,000.
   */
  maxDelayMs?: number | undefined;
}

/** A backend to start: the options, checked and with what they leave out. */
export interface BackendPlan {
  readonly name: string;
  readonly command: BackendCommand;
  /** `undefined` where it may be given any that is free. */
  readonly address: string | undefined;
  readonly readyTimeoutMs: number;
  /** `undefined` where it is not started again. */
  readonly restart: RestartPlan | undefined;
}

export type RestartPlan = Readonly<Record<keyof RestartPolicy, number>>;

/** What is started. */
export interface BackendCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string | undefined;
}

const DEFAULT_READY_TIMEOUT_MS = 60_000;
const DEFAULT_MAX_RETRIES = 5;
const DEFAULT_MIN_DELAY_MS = 1_000;
const DEFAULT_MAX_DELAY_MS = 60_000;

/** @throws {TypeError} where an option is not what it takes. */
export function planOf(options: StartOptions): BackendPlan {
  checkOptions("start", options, startOptionChecks);
  const { restart } = options;
  if (restart) checkOptions('start, in its option "restart"', restart, restartChecks);
  return {
    name: options.name,
    command: {
      command: options.command,
      args: [...(options.args ?? [])],
      env: { ...options.env },
      cwd: options.cwd,
    },
    address: options.address,
    readyTimeoutMs: options.readyTimeoutMs ?? DEFAULT_READY_TIMEOUT_MS,
    restart: restart && {
      maxRetries: restart.maxRetries ?? DEFAULT_MAX_RETRIES,
      minDelayMs: restart.minDelayMs ?? DEFAULT_MIN_DELAY_MS,
      maxDelayMs: restart.maxDelayMs ?? DEFAULT_MAX_DELAY_MS,
    },
  };
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrongVariable(env: object): [name: string, value: unknown] | undefined {
  return Object.entries(env).find(([, value]) => value !== undefined && typeof value !== "string");
}

const startOptionChecks: Record<keyof StartOptions, OptionCheck> = {
  name: required(modelName),
  command: required(nonEmptyString),
  args: listOf(aString, "strings"),
  env: {
    takes: "an object with strings",
    accepts: (value) => isObject(value) && wrongVariable(value) === undefined,
    describe: (value) => {
      if (!isObject(value)) return kindOf(value);
      const [name = "", variable] = wrongVariable(value) ?? [];
      // Not itself: it may be a secret.
      return `${kindOf(variable)} for ${quote(name)}`;
    },
  },
  cwd: nonEmptyString,
  address: grpcTarget,
  readyTimeoutMs: milliseconds,
  restart: { takes: "an object", accepts: isObject },
  signal: abortSignal,
};

const restartChecks: Record<keyof RestartPolicy, OptionCheck> = {
  maxRetries: {
    takes: "a whole number from 0",
    accepts: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  },
  minDelayMs: milliseconds,
  maxDelayMs: milliseconds,
};
