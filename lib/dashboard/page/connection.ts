import type { Change, ShutdownNews, Snapshot, Trouble } from "./api.js";
import { whyRefused } from "./requests.js";

/** Who is told what the server says. */
export interface Listener {
  snapshot(snapshot: Snapshot): void;
  change(change: Change): void;
  shutdown(news: ShutdownNews): void;
  trouble(trouble: Trouble): void;
  /** Something is heard again, or for the first time. */
  connected(): void;
  /** Nothing more is heard; `reason` is there where the server told one. Another try is under way. */
  lost(reason?: string): void;
}

/** Longer than that, and a server that samples each second is gone, or what is between it and this page. */
const SILENCE_MS = 10_000;
/** One that samples less often may miss two. */
const SILENT_SAMPLES = 3;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5_000;
const WATCH_MS = 1_000;

/**
 * The stream of events, for as long as the page is open. An EventSource connects again by itself after most failures; here is
 * what it does not do: after a refusal, and where a connection is dead and nobody says so.
 */
export class Connection {
  readonly #listener: Listener;
  #source: EventSource | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retry: number | undefined;
  #isConnected = false;
  #silenceMs = SILENCE_MS;
  /** A server in trouble says so once, and then nothing until it is over. */
  #isInTrouble = false;
  /** By the clock of the day: others stand still while the machine sleeps. */
  #triedAt = 0;
  #heardAt = 0;

  constructor(listener: Listener) {
    this.#listener = listener;
  }

  start(): void {
    this.#open();
    setInterval(() => this.#watch(), WATCH_MS);
    const retryNow = () => {
      if (!this.#isConnected && document.visibilityState === "visible") this.#open();
      else this.#watch();
    };
    addEventListener("online", retryNow);
    document.addEventListener("visibilitychange", retryNow);
  }

  #open(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#source?.close();
    this.#triedAt = Date.now();
    const source = new EventSource("api/events");
    this.#source = source;
    const on = <T>(event: string, tell: (data: T) => void) => {
      source.addEventListener(event, ({ data }: MessageEvent<string>) => {
        this.#heard();
        this.#isInTrouble = event === "trouble";
        tell(JSON.parse(data));
      });
    };
    on<Snapshot>("snapshot", (snapshot) => {
      this.#silenceMs = Math.max(SILENCE_MS, SILENT_SAMPLES * snapshot.interval_ms);
      this.#listener.snapshot(snapshot);
    });
    on<Change>("change", (change) => this.#listener.change(change));
    on<ShutdownNews>("shutdown", (news) => this.#listener.shutdown(news));
    on<Trouble>("trouble", (trouble) => this.#listener.trouble(trouble));
    source.addEventListener("error", () => {
      if (source === this.#source) void this.#failed(source);
    });
  }

  #heard(): void {
    this.#heardAt = Date.now();
    this.#retryMs = FIRST_RETRY_MS;
    if (this.#isConnected) return;
    this.#isConnected = true;
    this.#listener.connected();
  }

  async #failed(source: EventSource): Promise<void> {
    const isRefused = source.readyState === EventSource.CLOSED;
    // One that is refused again and again is told once why, and not each time that it is lost as well.
    if (this.#isConnected || !isRefused) this.#lost();
    if (!isRefused) return;
    this.#retryLater();
    const refusal = await whyRefused();
    if (!this.#isConnected) this.#lost(refusal?.message);
  }

  #lost(reason?: string): void {
    this.#isConnected = false;
    this.#listener.lost(reason);
  }

  #retryLater(): void {
    this.#retry ??= setTimeout(() => this.#open(), this.#retryMs);
    this.#retryMs = Math.min(LAST_RETRY_MS, 2 * this.#retryMs);
  }

  /** Also where the browser is about to connect again: it may wait for an answer that never comes. */
  #watch(): void {
    if (this.#retry !== undefined) return;
    const lastSignAt = Math.max(this.#triedAt, this.#heardAt);
    if (Date.now() - lastSignAt <= this.#silenceMs) return;
    if (!this.#isInTrouble) this.#lost();
    this.#open();
  }
}
