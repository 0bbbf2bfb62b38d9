import type { Response } from "express";
import { asMonitorError, errorAnswer, ModelNotLoadedError, type MonitorError } from "../errors.js";
import { type BackendMonitor, type MonitorParts, partsOf } from "../monitor.js";
import type { ModelOverview } from "../overview.js";
import { readerGone, toJson } from "../response.js";
import type { ShutdownProgress } from "../shutdown.js";
import { EventStream, eventText } from "./event-stream.js";
import type { History } from "./history.js";
import { RecentEvents } from "./recent-events.js";
import { snapshotOf } from "./snapshot.js";
import type { Change, ShutdownNews, Trouble } from "./wire.js";

/** How long a backend may take to say something new of itself, before what the others cost is told without it. */
const PATIENCE_MS = 250;

/** With its JSON, by which a change is seen. */
interface KnownModel {
  readonly model: ModelOverview;
  readonly json: string;
}

/** A comment, as server-sent events have it. */
const SIGN_OF_LIFE = Buffer.from(":\n\n");

/** In the place of its JSON, of one that was told to be stopped: whatever comes under its name is another one. */
const STOPPED = "";

/** What the last sample came to. */
interface State {
  readonly at: number;
  readonly takenAt: number;
  /** Also by what was told of shutdowns since. */
  readonly models: Map<string, KnownModel>;
}

/**
 * Has all viewers see what changes. There is one loop that takes samples, however many they are, and none while there are
 * no viewers.
 */
export class Feed {
  readonly #monitor: BackendMonitor;
  readonly #parts: MonitorParts;
  readonly #intervalMs: number;
  readonly #history: History;
  readonly #events = new RecentEvents();
  /** Those who know all that was told so far. */
  readonly #viewers = new Set<EventStream>();
  /** Those who wait for the next sample, with which they begin. */
  readonly #newcomers = new Set<EventStream>();
  #state: State | undefined;
  /** The text of the last snapshot that was told, for whoever comes before anything has changed. */
  #snapshot: { readonly id: string; readonly text: Buffer } | undefined;
  /** Why there are no samples for now. */
  #trouble: Trouble | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isSampling = false;
  #sampledAt = Number.NEGATIVE_INFINITY;
  #isListening = false;

  constructor(monitor: BackendMonitor, history: History, intervalMs: number) {
    this.#monitor = monitor;
    this.#parts = partsOf(monitor);
    this.#history = history;
    this.#intervalMs = intervalMs;
  }

  /** Shows it to whoever a response goes to, until they leave. `lastId` is that of the last event that they have seen. */
  show(res: Response, lastId: string | undefined): void {
    const gone = readerGone(res);
    if (gone.aborted) return;
    const viewer = new EventStream(res);
    gone.addEventListener("abort", () => this.#leave(viewer));
    this.#listen();
    const missed = this.#events.since(lastId);
    if (missed) {
      this.#viewers.add(viewer);
      viewer.write(missed);
    } else if (this.#state && this.#isFresh(this.#state)) {
      this.#begin(viewer, this.#state);
    } else {
      this.#newcomers.add(viewer);
      if (this.#trouble) viewer.write(this.#forNewcomers(this.#trouble));
    }
    this.#next();
  }

  #leave(viewer: EventStream): void {
    this.#viewers.delete(viewer);
    this.#newcomers.delete(viewer);
    if (this.#hasViewers) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  get #hasViewers(): boolean {
    return this.#viewers.size + this.#newcomers.size > 0;
  }

  #isFresh({ takenAt }: State): boolean {
    return !this.#trouble && performance.now() - takenAt <= this.#intervalMs;
  }

  /** It goes on listening without viewers: one that comes back is told how a shutdown ended meanwhile. */
  #listen(): void {
    if (this.#isListening) return;
    this.#isListening = true;
    // A host that has many dashboards is not to be warned of a leak.
    const limit = this.#monitor.getMaxListeners();
    if (limit > 0) this.#monitor.setMaxListeners(limit + 1);
    this.#monitor.on("shutdown", (progress) => this.#tellOfShutdown(progress));
  }

  /** The next sample begins an interval after the last one began, and not before that has ended. */
  #next(): void {
    if (this.#isSampling || this.#timer || !this.#hasViewers) return;
    const waitMs = this.#sampledAt + this.#intervalMs - performance.now();
    this.#timer = setTimeout(() => void this.#sample(), Math.max(0, waitMs));
  }

  async #sample(): Promise<void> {
    this.#timer = undefined;
    this.#isSampling = true;
    this.#sampledAt = performance.now();
    try {
      const models = await this.#parts.overviews.glance(PATIENCE_MS);
      this.#trouble = undefined;
      this.#tellOfSample(Date.now(), models);
    } catch (error) {
      this.#tellOfTrouble(asMonitorError(error));
    } finally {
      this.#isSampling = false;
      this.#next();
    }
  }

  #tellOfSample(at: number, models: readonly ModelOverview[]): void {
    this.#history.record(at, models);
    const before = this.#state?.models;
    const now = new Map(models.map((model) => [model.name, { model, json: toJson(model) }]));
    this.#state = { at, takenAt: performance.now(), models: now };
    if (before) {
      const changed = models.filter(({ name }) => now.get(name)?.json !== before.get(name)?.json);
      const gone = [...before.keys()].filter((name) => !now.has(name));
      this.#tell("change", { at, changed, gone } satisfies Change);
    }
    for (const newcomer of this.#newcomers) this.#begin(newcomer, this.#state);
  }

  #begin(viewer: EventStream, { at, models }: State): void {
    this.#newcomers.delete(viewer);
    this.#viewers.add(viewer);
    const id = this.#events.lastId;
    if (this.#snapshot?.id !== id) {
      const overviews = [...models.values()].filter(({ json }) => json !== STOPPED).map(({ model }) => model);
      const snapshot = snapshotOf(this.#parts.registry, this.#intervalMs, at, overviews);
      this.#snapshot = { id, text: Buffer.from(eventText(id, "snapshot", toJson(snapshot))) };
    }
    viewer.write(this.#snapshot.text);
  }

  /** Once, and not again until samples can be taken again. Until then, a sign of life keeps proxies from ending the streams. */
  #tellOfTrouble(failure: MonitorError): void {
    if (this.#trouble) {
      for (const viewer of [...this.#viewers, ...this.#newcomers]) viewer.write(SIGN_OF_LIFE);
      return;
    }
    this.#parts.log.failure(failure);
    this.#trouble = errorAnswer(failure);
    this.#tell("trouble", this.#trouble);
    for (const newcomer of this.#newcomers) newcomer.write(this.#forNewcomers(this.#trouble));
  }

  /** Who begins with trouble has seen no snapshot, and is to get one when they come back. */
  #forNewcomers(trouble: Trouble): Buffer {
    return Buffer.from(eventText(this.#events.noId, "trouble", toJson(trouble)));
  }

  /** Not of models that never were: anybody may ask to stop any name. */
  #tellOfShutdown({ name, phase, processes, error }: ShutdownProgress): void {
    if (error instanceof ModelNotLoadedError) return;
    const news: ShutdownNews = { model: name, phase, processes, error: error && errorAnswer(error).error };
    this.#tell("shutdown", news);
    const models = this.#state?.models;
    const before = models?.get(name);
    if (!models || !before) return;
    const { model, json } = before;
    if (phase === "stopped") models.set(name, { model, json: STOPPED });
    // The next change tells of it, too: a viewer may go by changes alone.
    else models.set(name, { model: { ...model, shutdown: phase === "failed" ? null : phase }, json });
  }

  #tell(event: string, data: Change | ShutdownNews | Trouble): void {
    const text = this.#events.add(event, toJson(data));
    for (const viewer of this.#viewers) viewer.write(text);
  }
}
