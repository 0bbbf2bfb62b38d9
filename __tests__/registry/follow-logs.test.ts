import { spawnSync } from "node:child_process";
import { getEventListeners, once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, expect, it } from "vitest";
import type { BackendSupervisor } from "../../lib/index.js";
import { countHeld } from "../support/garbage.js";
import { isLinux, script } from "../support/processes.js";
import { createSupervisor, nasty, print, temporaryFolder, warningsOfProcess } from "../support/supervisor.js";

const KEPT_BYTES = 256 * 1024;

/** Of a test that does not end it. */
const unaborted = () => new AbortController().signal;

/** An iterator over the log of model "m", and no other way to it. */
function follow(supervisor: BackendSupervisor, signal = unaborted()): AsyncIterator<string> {
  const followed = supervisor.followLogs("m", signal);
  if (!followed) throw new Error("nothing is known of it");
  return followed[Symbol.asyncIterator]();
}

/** Reads a log all the time, until it ends. */
function collect(supervisor: BackendSupervisor, signal = unaborted()) {
  const chunks: string[] = [];
  const ended = (async () => {
    for await (const chunk of supervisor.followLogs("m", signal) ?? []) chunks.push(chunk);
  })();
  return { text: () => chunks.join(""), chunks, ended };
}

async function startPrinting(kind = "printing") {
  const { supervisor } = createSupervisor();
  const { start } = nasty(kind);
  const { pid = 0 } = await supervisor.start(start);
  return { supervisor, start, pid };
}

/** Prints, and resolves once the log ends so. */
async function printAll(supervisor: BackendSupervisor, text: string): Promise<void> {
  await print(supervisor, text);
  await expect.poll(() => supervisor.logs("m")?.endsWith(text.slice(-1000))).toBe(true);
}

describe.skipIf(!isLinux)("followLogs", () => {
  it("is what there is, then what is added", async () => {
    const { supervisor } = await startPrinting();
    await printAll(supervisor, "one\n");
    await printAll(supervisor, "two\n");
    const log = follow(supervisor);
    expect(await log.next()).toEqual({ done: false, value: "one\ntwo\n" });
    const added = log.next();
    await print(supervisor, "three\n");
    expect(await added).toEqual({ done: false, value: "three\n" });
  });

  it("begins with the last 256 KiB, as logs() has them, and goes on where these end", async () => {
    const { supervisor } = await startPrinting();
    await printAll(supervisor, `${"é€🦙".repeat(50_000)}!`);
    const log = follow(supervisor);
    const tail = supervisor.logs("m");
    expect((await log.next()).value === tail).toBe(true);
    expect(Buffer.byteLength(tail ?? "")).toBeGreaterThan(KEPT_BYTES - 4);
    await print(supervisor, "more");
    expect(await log.next()).toEqual({ done: false, value: "more" });
  });

  it("is all that a flood printed, for each that follows, without a gap or anything twice", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty();
    const printed = join(temporaryFolder(), "printed");
    // The backend proper is started when the flood is over.
    const flood = 'seq 1 500000 | sed "s/$/ é€🦙/" | tee "$PRINTED"; exec "$@"';
    const starting = supervisor.start({
      ...start,
      command: "sh",
      args: ["-c", flood, "sh", process.execPath, ...(start.args ?? [])],
      env: { ...start.env, PRINTED: printed },
    });
    const first = collect(supervisor);
    const early = follow(supervisor);
    for (let chunk = 0; chunk < 10; chunk++) await early.next();
    const second = collect(supervisor);
    await starting;
    const all = readFileSync(printed, "utf8");
    expect(Buffer.byteLength(all)).toBeGreaterThan(8_000_000);
    await expect.poll(() => first.text().length).toBe(all.length);
    expect(first.text() === all).toBe(true);
    await expect.poll(() => all.endsWith(second.text())).toBe(true);
    expect(second.text().length).toBeGreaterThan(1_000_000);
    expect(first.chunks.every((chunk) => Buffer.byteLength(chunk) <= KEPT_BYTES)).toBe(true);
  });

  it("tells a reader that was overtaken how much it has lost, and no other", async () => {
    const { supervisor } = await startPrinting();
    await printAll(supervisor, "first");
    const slow = follow(supervisor);
    const quick = collect(supervisor);
    expect(await slow.next()).toEqual({ done: false, value: "first" });
    // ASCII, so that each byte is a character.
    const printed = Array.from({ length: 100_000 }, (_, line) => `${line}\n`).join("");
    await printAll(supervisor, printed);
    const leftOut = printed.length - KEPT_BYTES;
    const { value } = await slow.next();
    expect(value.slice(0, 40)).toBe(
      `\n[… ${leftOut} bytes left out …]\n${printed.slice(leftOut)}`.slice(0, 40),
    );
    expect(value.endsWith(`left out …]\n${printed.slice(leftOut)}`)).toBe(true);
    await print(supervisor, "last");
    expect(await slow.next()).toEqual({ done: false, value: "last" });
    await expect.poll(() => quick.text() === `first${printed}last`).toBe(true);
  });

  it("loses nothing of a reader that is behind by what is kept, and not by more", async () => {
    const { supervisor } = await startPrinting();
    await printAll(supervisor, "first");
    const log = follow(supervisor);
    await log.next();
    await printAll(supervisor, `${"x".repeat(KEPT_BYTES - 1)}!`);
    expect((await log.next()).value === `${"x".repeat(KEPT_BYTES - 1)}!`).toBe(true);
  });

  it("puts a character together that comes in pieces, and shows what is none as logs() does", async () => {
    const { supervisor } = await startPrinting();
    const { text, chunks } = collect(supervisor);
    const llama = Buffer.from("🦙");
    await print(supervisor, Buffer.concat([Buffer.from("a"), llama.subarray(0, 1)]));
    await expect.poll(text).toBe("a");
    await print(supervisor, llama.subarray(1, 3));
    await expect.poll(() => supervisor.logs("m")).toBe("a\uFFFD");
    await print(supervisor, Buffer.concat([llama.subarray(3), Buffer.from("b")]));
    await expect.poll(() => chunks).toEqual(["a", "🦙b"]);
    await print(supervisor, Buffer.from([0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80, 0x63]));
    await expect.poll(text).toMatch(/c$/);
    expect(text()).toBe(supervisor.logs("m"));
  });

  it("goes on over a crash, the end of the model and its next start", async () => {
    const { supervisor } = createSupervisor();
    const { start } = nasty("printing,polite", { restart: { minDelayMs: 1 } });
    const { pid = 0 } = await supervisor.start(start);
    const { text } = collect(supervisor);
    await print(supervisor, "one\n");
    await expect.poll(text).toBe("one\n");
    process.kill(pid, "SIGKILL");
    await expect.poll(() => supervisor.get("m")?.pid ?? pid).not.toBe(pid);
    await print(supervisor, "two\n");
    await supervisor.shutdown("m");
    const late = collect(supervisor);
    await expect.poll(late.text).toMatch(/^one\ntwo\nSIGTERM at \d+\nends at \d+\n$/);
    await supervisor.start(start);
    await print(supervisor, "three\n");
    await expect.poll(text).toMatch(/^one\ntwo\nSIGTERM at \d+\nends at \d+\nthree\n$/);
    await expect.poll(late.text).toBe(text());
  });

  it("is undefined where nothing is known of the model", () => {
    const { supervisor } = createSupervisor();
    const found = ["m", "__proto__", ""].map((name) => supervisor.followLogs(name, unaborted()));
    expect(found).toEqual([undefined, undefined, undefined]);
  });

  it("ends where its signal is aborted: while it waits, while nobody asks, and before it began", async () => {
    const { supervisor } = await startPrinting();
    await printAll(supervisor, "one");
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = collect(supervisor, signal);
    const idle = follow(supervisor, signal);
    const untouched = follow(supervisor, signal);
    expect(await idle.next()).toEqual({ done: false, value: "one" });
    await expect.poll(waiting.text).toBe("one");
    await printAll(supervisor, "two");
    await expect.poll(waiting.text).toBe("onetwo");
    controller.abort(new Error("enough"));
    await waiting.ended;
    const over = { done: true, value: undefined };
    expect([await idle.next(), await untouched.next()]).toEqual([over, over]);
    expect(await follow(supervisor, signal).next()).toEqual(over);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("ends where its reader leaves, also one that waits for more", async () => {
    const { supervisor } = await startPrinting();
    await printAll(supervisor, "one");
    const { signal } = new AbortController();
    for await (const _ of supervisor.followLogs("m", signal) ?? []) break;
    const log = follow(supervisor, signal);
    await log.next();
    const [asked, askedAgain] = [log.next(), log.next()];
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    const over = { done: true, value: undefined };
    expect(await log.return?.()).toEqual(over);
    expect(await Promise.all([asked, askedAgain, log.next()])).toEqual([over, over, over]);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("ends where the stream that it is piped into is destroyed, as that of a client that hung up", async () => {
    const { supervisor } = await startPrinting();
    await printAll(supervisor, "one");
    const { signal } = new AbortController();
    const response = new PassThrough();
    const piped = pipeline(Readable.from(supervisor.followLogs("m", signal) ?? []), response);
    expect(String((await once(response, "data"))[0])).toBe("one");
    response.destroy();
    await expect(piped).rejects.toThrow("Premature close");
    await expect.poll(() => getEventListeners(signal, "abort")).toEqual([]);
  });

  it("ends where the log is forgotten, and gives what is left of it before", async () => {
    const { supervisor } = await startPrinting();
    await printAll(supervisor, "one");
    const waiting = collect(supervisor);
    const untouched = follow(supervisor);
    await expect.poll(waiting.text).toBe("one");
    await supervisor.shutdown("m");
    for (let model = 0; model < 100; model++) {
      await supervisor.start({ name: `${model}`, command: "/nowhere" }).catch(() => {});
    }
    await waiting.ended;
    expect(await untouched.next()).toEqual({ done: false, value: "one" });
    expect(await untouched.next()).toEqual({ done: true, value: undefined });
    expect(supervisor.followLogs("m", unaborted())).toBeUndefined();
  });

  it("leaves nothing behind of a thousand that come and go, with one signal", async () => {
    const warnings = warningsOfProcess();
    const { supervisor } = await startPrinting();
    await printAll(supervisor, "one");
    const controller = new AbortController();
    const { signal } = controller;
    const all = Array.from({ length: 1000 }, () => collect(supervisor, signal));
    await expect.poll(() => all.every(({ chunks }) => chunks.length === 1)).toBe(true);
    await print(supervisor, "two");
    await expect.poll(() => all.every(({ text }) => text() === "onetwo")).toBe(true);
    controller.abort();
    await Promise.all(all.map(({ ended }) => ended));
    expect(getEventListeners(signal, "abort")).toEqual([]);

    const other = unaborted();
    const comeAndGo = async () => {
      const log = follow(supervisor, other);
      await log.next();
      const asked = log.next();
      await log.return?.();
      await asked;
      return new WeakRef(log);
    };
    const gone = await Promise.all(Array.from({ length: 1000 }, comeAndGo));
    expect(getEventListeners(other, "abort")).toEqual([]);
    // The log is there, and says nothing.
    await expect.poll(() => countHeld(gone)).toBe(0);
    expect(warnings).toEqual([]);
  });

  it("does not keep the process from ending", () => {
    const dist = new URL("../../dist/index.js", import.meta.url).href;
    const code = `
      const { BackendSupervisor } = await import(${JSON.stringify(dist)});
      const supervisor = new BackendSupervisor();
      const args = [${JSON.stringify(script("backend.mjs"))}, "--kind", "polite"];
      await supervisor.start({ name: "m", command: process.execPath, args });
      await supervisor.shutdown("m");
      (async () => {
        for await (const text of supervisor.followLogs("m", new AbortController().signal)) console.log(text);
      })();
    `;
    const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", code]);
    expect([status, `${stdout}`]).toEqual([0, expect.stringContaining("SIGTERM at ")]);
  });
});
