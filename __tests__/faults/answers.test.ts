import { describe, expect, it } from "vitest";
import { failedStatus, frozenProcess, PATIENT, undisturbed } from "../support/faults.js";
import { loadProtocol, serveBytes } from "../support/grpc.js";
import { isLinux } from "../support/processes.js";

/** Answers to Status as a real gRPC server sends them, and what the monitor makes of each. */
async function monitorBytes(bytes: Uint8Array, expected: object, pid?: number) {
  await undisturbed(async ({ models, monitor }) => {
    const backend = await serveBytes(bytes);
    models.register({ name: "m", address: backend.address, pid });
    for (let polls = 0; polls < 2; polls++) expect((await monitor("m")).json).toEqual(expected);
    backend.stop();
  }, PATIENT);
}

function fromHex(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(" ", ""), "hex");
}

/** What @grpc/proto-loader reads; uint64 as a string. */
function loaded(bytes: Buffer) {
  return loadProtocol().service.Status?.responseDeserialize(bytes);
}

/** Total 5, a: 5. */
const MEMORY = "12 09 08 05 12 05 0a 01 61 10 05";
const OF_MEMORY = { total: 5, breakdown: { a: 5 } };

describe("an answer is read as @grpc/proto-loader reads it", () => {
  it.each([
    ["a state that comes twice: the last", `08 01 ${MEMORY} 08 02`, 2, OF_MEMORY],
    ["a total that comes twice: the last", "08 02 12 04 08 07 08 05", 2, { total: 5, breakdown: {} }],
    [
      "a key that has two values: the last",
      "08 02 12 10 08 05 12 05 0a 01 61 10 07 12 05 0a 01 61 10 05",
      2,
      OF_MEMORY,
    ],
    [
      "an entry with two keys: the last",
      "08 02 12 0e 08 05 12 0a 0a 01 62 0a 01 61 10 01 10 05",
      2,
      OF_MEMORY,
    ],
    [
      "a varint that is longer than it need be",
      "08 82 00 12 0b 08 85 80 00 12 05 0a 01 61 10 05",
      2,
      OF_MEMORY,
    ],
    ["an unknown group", `1b 08 07 1c 08 02 ${MEMORY}`, 2, OF_MEMORY],
    ["an unknown group with groups in it", `1b 23 2b 08 01 2c 12 01 61 24 1c 08 02 ${MEMORY}`, 2, OF_MEMORY],
    [
      "an unknown group with one of the same number in it",
      `1b 1b 08 01 1c 10 02 1c 08 02 ${MEMORY}`,
      2,
      OF_MEMORY,
    ],
    ["an unknown group in the memory", "08 02 12 0d 1b 08 09 1c 08 05 12 05 0a 01 61 10 05", 2, OF_MEMORY],
    ["an unknown group in an entry", "08 02 12 0d 08 05 12 09 1b 08 01 1c 0a 01 61 10 05", 2, OF_MEMORY],
  ])("%s", async (_what, hex, state, memory) => {
    const bytes = fromHex(hex);
    expect(loaded(bytes)).toEqual({
      state,
      memory: { total: `${memory.total}`, breakdown: asText(memory.breakdown) },
    });
    await monitorBytes(bytes, { state, memory });
  });
});

/** @grpc/proto-loader takes what is there for what it wants, and has the last of two messages instead of both. */
describe("an answer is read as protobuf's specification has it, where @grpc/proto-loader reads something else", () => {
  it.each([
    [
      "memory that comes twice: both, merged",
      "08 02 12 09 08 01 12 05 0a 01 61 10 01 12 09 08 05 12 05 0a 01 62 10 04",
      { state: 2, memory: { total: 5, breakdown: { a: 1, b: 4 } } },
    ],
    ["a group in the state's place: skipped", `08 02 0b 08 01 0c ${MEMORY}`, { state: 2, memory: OF_MEMORY }],
    [
      "a group in the memory's place: skipped",
      `08 02 13 08 09 14 ${MEMORY}`,
      { state: 2, memory: OF_MEMORY },
    ],
    ["a text in the state's place: skipped", `08 02 0a 01 02 ${MEMORY}`, { state: 2, memory: OF_MEMORY }],
  ])("%s", async (_what, hex, expected) => {
    const bytes = fromHex(hex);
    expect(readOrRefused(bytes)).not.toMatchObject({
      memory: { breakdown: asText(expected.memory.breakdown) },
    });
    await monitorBytes(bytes, expected);
  });
});

describe.skipIf(!isLinux)("an answer that does not decode is answered for by the process", () => {
  it.each([
    ["a varint that does not end", "08 ff"],
    ["a varint of eleven bytes", `${MEMORY} 08 ffffffffffffffffffff01`],
    ["a length beyond the end", `08 02 ${MEMORY} 12 05 08`],
    ["a length beyond the end of what it is in", "08 02 12 04 12 05 0a 01"],
    ["a wire type that does not exist", `08 02 ${MEMORY} 1e 00`],
    ["a group that does not end", `08 02 ${MEMORY} 1b 08 01`],
    ["a group whose inner group does not end", `08 02 ${MEMORY} 1b 23 1c`],
    ["the end of a group that did not start", `08 02 ${MEMORY} 1c`],
    ["groups in one another without an end", `08 02 ${MEMORY} ${"1b".repeat(200_000)}`],
    ["a key that is not UTF-8", "08 02 12 09 08 05 12 05 0a 01 ff 10 05"],
  ])("%s", async (_what, hex) => {
    const pid = await frozenProcess();
    await monitorBytes(fromHex(hex), failedStatus("INTERNAL", pid), pid);
  });
});

describe("an answer of as many bytes as gRPC takes", () => {
  const MOST = 4 * 1024 * 1024;

  /** Most of it is in a field that is skipped. */
  function ofLength(length: number): Buffer {
    const start = fromHex(`08 02 ${MEMORY} 1a 80808000`);
    for (let rest = length - start.length, at = start.length - 4; at < start.length; at++, rest >>= 7) {
      start[at] = (at < start.length - 1 ? 0x80 : 0) | (rest & 0x7f);
    }
    return Buffer.concat([start, Buffer.alloc(length - start.length)]);
  }

  it("is read", async () => {
    await monitorBytes(ofLength(MOST), { state: 2, memory: OF_MEMORY });
  });

  it.skipIf(!isLinux)("and one more is answered for by the process", async () => {
    const pid = await frozenProcess();
    await monitorBytes(ofLength(MOST + 1), failedStatus("RESOURCE_EXHAUSTED", pid), pid);
  });
});

it("a breakdown of a hundred thousand keys is answered, all of it", async () => {
  const breakdown = Object.fromEntries(Array.from({ length: 100_000 }, (_, key) => [`layer.${key}`, key]));
  const status = { state: 2, memory: { total: 5, breakdown } };
  const bytes = loadProtocol().service.Status?.responseSerialize(status);
  await undisturbed(async ({ models, monitor }) => {
    const backend = await serveBytes(bytes as Buffer);
    models.register({ name: "m", address: backend.address });
    const { text } = await monitor("m");
    // Comparing so many members one by one would keep the event loop from the other model for longer than the answer does.
    expect(text === JSON.stringify(status)).toBe(true);
    backend.stop();
  }, PATIENT);
});

function readOrRefused(bytes: Buffer) {
  try {
    return loaded(bytes);
  } catch {
    return "refused";
  }
}

function asText(breakdown: Record<string, number>) {
  return Object.fromEntries(Object.entries(breakdown).map(([key, value]) => [key, `${value}`]));
}
