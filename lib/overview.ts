import type { MonitorAnswer } from "./answer.js";
import type { BackendReport, Reports } from "./backend/reports.js";
import { inTime } from "./deadline.js";
import { asMonitorError, type ErrorAnswer, errorAnswer, type MonitorError } from "./errors.js";
import type { Log } from "./log.js";
import type { LoadedModel } from "./model.js";
import type { ProcessSample } from "./process/stats.js";
import { listModels, lookUp, refusal } from "./registry/look-up.js";
import type { ModelRegistry } from "./registry/registry.js";
import type { Samples } from "./samples.js";
import type { ShutdownPhase } from "./shutdown.js";
import { Turns } from "./turns.js";

/** What a model's processes cost, by the operating system, whatever its backend says of itself. */
export interface ProcessCost {
  /** How many processes there are: that of the model, and all that descend from it. */
  readonly processes: number;
  /** Bytes in memory, summed over them. */
  readonly rss: number;
  /** Bytes of address space, summed over them; `null` where the system does not tell. */
  readonly vms: number | null;
  /** `100 × rss ÷ the machine's physical memory`. */
  readonly memory_percent: number;
  /** 100 is one core fully used, since the last time that the model was sampled; `null` where the system does not tell. */
  readonly cpu_percent: number | null;
  /** CPU time that they have used since the first of them was started, in seconds. */
  readonly cpu_seconds: number;
}

/** One model of {@link BackendMonitor.overview}. It has `status`, or the `error` that there is instead. */
export interface ModelOverview {
  /** What requests call it. */
  readonly name: string;
  /** Its backend's gRPC target. */
  readonly address: string;
  /** Its backend's process; `null` where none is known on this machine. */
  readonly pid: number | null;
  /** When that process was started, as in `"2026-11-24T14:46:44.000Z"`; `null` where the system does not tell. */
  readonly loaded_since: string | null;
  /** What `BackendMonitor.status` answers. */
  readonly status?: MonitorAnswer;
  /** Why it can't be monitored. */
  readonly error?: ErrorAnswer["error"];
  /** What its processes cost; `null` where they can't be sampled. */
  readonly process: ProcessCost | null;
  /** How far its shutdown is; `null` where none is under way. */
  readonly shutdown: ShutdownPhase | null;
}

/** What overviews need of the monitor. */
interface OverviewContext {
  readonly registry: ModelRegistry;
  readonly reports: Reports;
  readonly samples: Samples;
  readonly log: Log;
  readonly statusTimeoutMs: number;
  /** What the two sources together tell of a model. Throws where neither tells. */
  readonly answer: (
    name: string,
    model: LoadedModel,
    report: BackendReport,
    sample: ProcessSample | Error,
  ) => MonitorAnswer;
  readonly shutdownPhase: (name: string) => ShutdownPhase | undefined;
  /** The models that something is remembered of, and how to have that forgotten. */
  readonly known: () => string[];
  readonly isKnown: (name: string) => boolean;
  readonly forget: (name: string) => void;
}

/** How many backends are asked at a time; one that does not answer counts for a while only, see {@link Turns}. */
const BACKENDS_AT_ONCE = 64;

/** How long a registry may take to say whether it still lists a model; where it does not say, it does. */
const LOOK_AGAIN_MS = 50;
const STILL_THERE = null;

const NOT_SAMPLED = new Error("it was not sampled");

/** What all models cost, at once. */
export class Overviews {
  readonly #context: OverviewContext;
  #underWay: Promise<ModelOverview[]> | undefined;
  /** The failures of the last overview, by model. */
  #failures: ReadonlyMap<string, MonitorError> = new Map();

  constructor(context: OverviewContext) {
    this.#context = context;
  }

  /** See `BackendMonitor.overview`. Who asks while one is being made gets that one. */
  take(): Promise<ModelOverview[]> {
    if (this.#underWay) return this.#underWay;
    const overview = this.#take().finally(() => {
      if (this.#underWay === overview) this.#underWay = undefined;
    });
    this.#underWay = overview;
    return overview;
  }

  /** A model was stopped: who asks from now on is not to be told of it. */
  beginAnew(): void {
    this.#underWay = undefined;
  }

  /**
   * The same, for who looks again and again: a backend that takes longer than `patienceMs` is not waited for where it has said
   * something before. That stands until it answers, beside what its processes cost now.
   */
  glance(patienceMs: number): Promise<ModelOverview[]> {
    return this.#take(patienceMs);
  }

  async #take(patienceMs?: number): Promise<ModelOverview[]> {
    const { registry, samples, statusTimeoutMs, known, isKnown, forget } = this.#context;
    const startedAt = performance.now();
    // A model that comes later is not on a list that was begun before.
    const remembered = known();
    const models = await listModels(registry, statusTimeoutMs);
    for (const name of remembered) if (!models.has(name)) forget(name);

    const deadline = startedAt + statusTimeoutMs;
    const msLeft = Math.max(0, deadline - performance.now());
    const sound = [...models].filter(([name, model]) => !refusal(name, model));
    const sampling = inTime(
      msLeft,
      samples.takeAll(sound),
      () => new Error("the processes of all models could not be sampled in time"),
    ).catch((error: Error) => error);
    // Each backend gets its turn in the first half of the time, however many there are before it that do not answer.
    const turns = new Turns(BACKENDS_AT_ONCE, msLeft / 2 / Math.ceil(sound.length / BACKENDS_AT_ONCE));
    const patientUntil = patienceMs === undefined ? undefined : startedAt + patienceMs;

    const failures = new Map<string, MonitorError>();
    const overview = await Promise.all(
      Array.from(models, async ([name, model]) => {
        const refused = refusal(name, model);
        const report = refused ?? (await this.#ask(name, model, turns, deadline, patientUntil));
        const sampled = await sampling;
        const sample = sampled instanceof Error ? sampled : (sampled.get(name) ?? NOT_SAMPLED);
        samples.keep(name, sample);
        const answer = report instanceof Error ? report : this.#answer(name, model, report, sample);
        const isDoubtful = !refused && (answer instanceof Error || !isKnown(name));
        if (isDoubtful && (await this.#isGone(name))) return [];
        // What is in its place may be anything.
        const described = this.#describe(
          refused ? { name, address: "" } : { ...model, name },
          answer,
          sample,
        );
        // While it is being stopped, nobody can answer.
        if (answer instanceof Error && !described.shutdown) failures.set(name, answer);
        return described;
      }),
    );
    this.#tell(failures);
    return overview.flat();
  }

  /** Whether it is no longer listed: it may have been stopped while its backend was asked. */
  async #isGone(name: string): Promise<boolean> {
    const listed = lookUp(this.#context.registry, name, LOOK_AGAIN_MS);
    return (await listed.catch(() => STILL_THERE)) === undefined;
  }

  async #ask(
    name: string,
    model: LoadedModel,
    turns: Turns,
    deadline: number,
    patientUntil: number | undefined,
  ): Promise<BackendReport> {
    const { reports } = this.#context;
    const last = patientUntil === undefined ? undefined : reports.last(name, model);
    const report = turns.take(() => reports.ask(name, model, { deadline }));
    if (!last || patientUntil === undefined) return report;
    return inTime(Math.max(0, patientUntil - performance.now()), report, () => new Error()).catch(() => last);
  }

  #answer(
    name: string,
    model: LoadedModel,
    report: BackendReport,
    sample: ProcessSample | Error,
  ): MonitorAnswer | MonitorError {
    try {
      return this.#context.answer(name, model, report, sample);
    } catch (error) {
      return asMonitorError(error);
    }
  }

  #describe(
    { name, address, pid }: LoadedModel,
    answer: MonitorAnswer | MonitorError,
    sample: ProcessSample | Error,
  ): ModelOverview {
    const isSampled = !(sample instanceof Error);
    return {
      name,
      address,
      pid: pid ?? null,
      loaded_since:
        isSampled && Number.isFinite(sample.startedAt) ? new Date(sample.startedAt).toISOString() : null,
      ...(answer instanceof Error ? errorAnswer(answer) : { status: answer }),
      process: isSampled ? costOf(sample) : null,
      shutdown: this.#context.shutdownPhase(name) ?? null,
    };
  }

  /** Each failure is told once, and not again each time that somebody looks. */
  #tell(failures: ReadonlyMap<string, MonitorError>): void {
    for (const [name, failure] of failures) {
      if (this.#failures.get(name)?.message !== failure.message) this.#context.log.failure(failure);
    }
    this.#failures = failures;
  }
}

function costOf({ processes, rss, vms, memoryPercent, cpuPercent, cpuMs }: ProcessSample): ProcessCost {
  return {
    processes,
    rss,
    vms,
    memory_percent: memoryPercent,
    cpu_percent: cpuPercent,
    cpu_seconds: cpuMs / 1000,
  };
}
