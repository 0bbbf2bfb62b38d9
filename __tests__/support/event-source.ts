import { once } from "node:events";
import { request } from "node:http";
import { onTestFinished } from "vitest";
import type { Change, ShutdownNews, Snapshot, Trouble } from "../../lib/dashboard/wire.js";

/** What a dashboard sends, and no event of any other kind. */
interface Told {
  snapshot: Snapshot;
  change: Change;
  shutdown: ShutdownNews;
  trouble: Trouble;
}

type ServerEvent = { [E in keyof Told]: { id: string; event: E; data: Told[E] } }[keyof Told];

/** The text of each event, as the HTML standard has a browser read a stream: line ends of three kinds, fields, comments. */
export class EventStreamParser {
  retry: number | undefined;
  #rest = "";
  #data: string[] = [];
  #event = "";
  #id = "";

  /** The events that are complete with this piece of text. */
  read(text: string): { id: string; event: string; data: string }[] {
    // A CR at the end may be the first half of a line end.
    const [, whole = "", rest = ""] = /^(.*(?:\n|\r(?!$)))?(.*)$/s.exec(this.#rest + text) ?? [];
    this.#rest = rest;
    return whole
      .split(/\r\n|\r|\n/)
      .slice(0, -1)
      .flatMap((line) => this.#readLine(line) ?? []);
  }

  #readLine(line: string) {
    if (line === "") return this.#dispatch();
    const [, field = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
    else if (field !== "") throw new Error(`a line that says nothing: ${JSON.stringify(line)}`);
    return undefined;
  }

  #dispatch() {
    const event = { id: this.#id, event: this.#event || "message", data: this.#data.join("\n") };
    const hasData = this.#data.length > 0;
    this.#data = [];
    this.#event = "";
    return hasData ? event : undefined;
  }
}

/** Somebody who looks at a stream of events until they leave, or until the end of the test. */
export class Viewer {
  /** All that has come. */
  readonly events: ServerEvent[] = [];
  readonly headers: Record<string, unknown>;
  readonly parser = new EventStreamParser();
  readonly leave: () => void;
  /** Set once the stream has ended, whoever ended it. */
  isOver = false;
  #read = 0;
  #wake = () => {};

  constructor(res: import("node:http").IncomingMessage) {
    this.headers = { ...res.headers };
    const decoder = new TextDecoder();
    const over = () => {
      this.isOver = true;
      this.#wake();
    };
    res.on("data", (chunk: Buffer) => {
      for (const event of this.parser.read(decoder.decode(chunk, { stream: true }))) {
        this.events.push({ ...event, data: JSON.parse(event.data) } as ServerEvent);
      }
      this.#wake();
    });
    res.on("close", over).on("error", over);
    this.leave = () => res.destroy();
    onTestFinished(this.leave);
  }

  /** The next event that has not been taken yet; with a kind, those of other kinds in between are passed over. */
  async next(): Promise<ServerEvent>;
  async next<E extends keyof Told>(kind: E): Promise<Extract<ServerEvent, { event: E }>>;
  async next(kind?: keyof Told): Promise<ServerEvent> {
    for (;;) {
      const event = this.events[this.#read];
      if (event) {
        this.#read++;
        if (kind === undefined || event.event === kind) return event;
      } else if (this.isOver) {
        throw new Error("the stream has ended");
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** What the models are, by all that has come: what a page would show. */
  get models(): Map<string, unknown> {
    return modelsOf(this.events);
  }

  get lastId(): string {
    return this.events.at(-1)?.id ?? "";
  }
}

export function modelsOf(events: readonly ServerEvent[]): Map<string, unknown> {
  const models = new Map<string, unknown>();
  for (const { event, data } of events) {
    if (event === "snapshot") {
      models.clear();
      for (const model of data.models) models.set(model.name, model);
    } else if (event === "change") {
      for (const model of data.changed) models.set(model.name, model);
      for (const name of data.gone) models.delete(name);
    }
  }
  return models;
}

/** Begins to look at the events at a URL. */
export async function view(url: string, headers: Record<string, string> = {}): Promise<Viewer> {
  const req = request(url, { headers: { accept: "text/event-stream", ...headers }, agent: false });
  req.end();
  const [res] = await once(req, "response");
  if (res.statusCode !== 200) throw new Error(`the stream was answered with ${res.statusCode}`);
  return new Viewer(res);
}
