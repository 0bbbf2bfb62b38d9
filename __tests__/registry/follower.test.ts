import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Follower } from "../../lib/registry/follower.js";
import { RecentOutput } from "../../lib/registry/recent-output.js";

const { signal } = new AbortController();

/** Each may be valid or not, and cut anywhere. */
const bytes = fc.array(
  fc.oneof(
    fc.constantFrom(
      0x00,
      0x41,
      0x7f,
      0x80,
      0x9f,
      0xa0,
      0xbf,
      0xc0,
      0xc3,
      0xe0,
      0xe2,
      0xed,
      0xef,
      0xf0,
      0xf4,
      0xf5,
      0xff,
    ),
    fc.constantFrom(...Buffer.from("é€🦙\uFEFF")),
  ),
  { maxLength: 20 },
);

async function textOf(follower: Follower): Promise<string> {
  let text = "";
  for await (const chunk of follower) text += chunk;
  return text;
}

describe("Follower", () => {
  it("gives what was appended, whatever bytes it is and wherever it was cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(bytes), async (chunks) => {
        const output = new RecentOutput(10_000);
        const text = textOf(new Follower(output, signal));
        for (const chunk of chunks) {
          output.append(Buffer.from(chunk));
          // It reads now.
          await new Promise(setImmediate);
        }
        output.end();
        expect(await text).toBe(Buffer.from(chunks.flat()).toString());
      }),
    );
  });

  it("counts what it is too late for, to the byte", async () => {
    const appends = fc.array(fc.tuple(fc.integer({ min: 0, max: 30_000 }), fc.boolean()), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(appends, fc.integer({ min: 1, max: 20_000 }), async (steps, maxBytes) => {
        const output = new RecentOutput(maxBytes);
        const follower = new Follower(output, signal);
        let [all, read, expected] = ["", 0, ""];
        for (const [length, isRead] of [[1, true] as const, ...steps]) {
          const chunk = Array.from({ length }, (_, index) => (all.length + index) % 10).join("");
          output.append(Buffer.from(chunk));
          all += chunk;
          if (!isRead || all.length === read) continue;
          const leftOut = Math.max(0, all.length - maxBytes - read);
          expected = (leftOut ? `\n[… ${leftOut} bytes left out …]\n` : "") + all.slice(read + leftOut);
          read = all.length;
          expect(await follower.next()).toEqual({ done: false, value: expected });
        }
      }),
    );
  });

  it("cuts no character where it goes on, and tells of one that it has lost a part of", async () => {
    const output = new RecentOutput(10);
    const follower = new Follower(output, signal);
    output.append(Buffer.from("a🦙").subarray(0, 3));
    expect(await follower.next()).toMatchObject({ value: "a" });
    output.append(Buffer.concat([Buffer.from("🦙").subarray(2), Buffer.from("€".repeat(10))]));
    expect(await follower.next()).toMatchObject({ value: "\uFFFD\n[… 23 bytes left out …]\n€€€" });
  });

  it("gives each of several that ask at the same time what is next, in the order in which they asked", async () => {
    const output = new RecentOutput(100);
    const follower = new Follower(output, signal);
    const asked = [follower.next(), follower.next()];
    output.append(Buffer.from("one"));
    asked.push(follower.next());
    expect(await asked[0]).toEqual({ done: false, value: "one" });
    output.append(Buffer.from("two"));
    expect(await asked[1]).toEqual({ done: false, value: "two" });
    output.append(Buffer.from("three"));
    expect(await asked[2]).toEqual({ done: false, value: "three" });
  });

  it("leaves nothing with an output that it has left, or has waited for until its signal was aborted", async () => {
    const output = new RecentOutput(100);
    const controller = new AbortController();
    const followers = Array.from({ length: 10 }, () => new Follower(output, controller.signal));
    const asked = followers.map((follower) => follower.next());
    expect(output.waiting.size).toBe(10);
    await followers[0]?.return();
    expect(output.waiting.size).toBe(9);
    controller.abort();
    await Promise.all(asked);
    expect(output.waiting.size).toBe(0);
  });

  it("gives all that is left of an output that has ended, and ends", async () => {
    const output = new RecentOutput(100);
    const follower = new Follower(output, signal);
    output.append(Buffer.from("one"));
    expect(await follower.next()).toEqual({ done: false, value: "one" });
    output.append(Buffer.from([0x32, 0xe2, 0x82]));
    output.end();
    expect(await textOf(follower)).toBe("2\uFFFD");
    expect(await follower.next()).toEqual({ done: true, value: undefined });
  });
});
