/** What the dashboard's paths send. In JSON, a byte count is a number of all its digits. */
import type { ErrorAnswer } from "../errors.js";
import type { ModelOverview } from "../overview.js";
import type { ShutdownProgress } from "../shutdown.js";

/** `GET api/backends`, and what the stream begins with. */
export interface Snapshot {
  /** When it was taken, in milliseconds since 1970. */
  readonly at: number;
  /** Every model that is loaded. */
  readonly models: readonly ModelOverview[];
  /** What there is of it all. */
  readonly machine: {
    /** Bytes of physical memory. */
    readonly memory: number;
    /** How many CPU cores. */
    readonly cores: number;
  };
  /** How long it is from one sample to the next, in milliseconds. */
  readonly interval_ms: number;
  /** Whether the registry keeps logs. */
  readonly logs: boolean;
}

/** The event `change`, one for each sample, whether or not there is something in it. */
export interface Change {
  /** When it was taken, in milliseconds since 1970. */
  readonly at: number;
  /** The models that are new, or not what they were. */
  readonly changed: readonly ModelOverview[];
  /** The names of those that are no longer loaded. */
  readonly gone: readonly string[];
}

/** The event `shutdown`: one has come to its next phase, or to its end. */
export interface ShutdownNews {
  /** The model's name. */
  readonly model: string;
  /** What it is at, or how it ended. */
  readonly phase: ShutdownProgress["phase"];
  /** How many processes it has ended, where that is known. */
  readonly processes?: number | undefined;
  /** Why it failed, where it did. */
  readonly error?: ErrorAnswer["error"] | undefined;
}

/** The event `trouble`: no sample could be taken. It comes once; the next `change`, or `snapshot`, says that it is over. */
export interface Trouble {
  /** Why not. */
  readonly error: ErrorAnswer["error"];
}

/** `POST api/backends/shutdown`: what became of each. */
export interface ShutdownOutcomes {
  /** In the order in which they were asked for. */
  readonly outcomes: readonly ShutdownOutcome[];
}

/** It has `message` where the model is stopped, and `error` where it is not. */
export interface ShutdownOutcome {
  /** The model's name. */
  readonly model: string;
  /** `"model stopped"` */
  readonly message?: string;
  /** Why it is not. */
  readonly error?: ErrorAnswer["error"];
}

/** `GET api/history?model=NAME`: the samples of the last 15 minutes, oldest first, as columns. */
export interface History {
  /** When each was taken, in milliseconds since 1970. */
  readonly at: readonly number[];
  /** Bytes in memory; `null` where nobody told. */
  readonly memory: readonly (number | null)[];
  /** 100 is one core fully used; `null` where the system did not tell. */
  readonly cpu: readonly (number | null)[];
}
