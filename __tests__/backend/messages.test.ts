import type { ServiceDefinition } from "@grpc/grpc-js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeReply,
  decodeResult,
  decodeStatusResponse,
  encodeReply,
  encodeResult,
  encodeStatusResponse,
} from "../../lib/backend/messages.js";
import type { BackendStatus } from "../../lib/backend/status.js";
import { loadProtocol } from "../support/grpc.js";

type MethodDefinition = ServiceDefinition[string];

const { service } = loadProtocol();
const [Status, Health, Free] = ["Status", "Health", "Free"].map((name) => {
  const method = service[name];
  if (!method) throw new Error(`protos/backend.proto has no ${name}`);
  return method;
}) as [MethodDefinition, MethodDefinition, MethodDefinition];
const MAX_UINT64 = 2n ** 64n - 1n;

const uint64 = fc.oneof(
  fc.bigInt({ min: 0n, max: MAX_UINT64 }),
  fc.constantFrom(0n, 1n, 2n ** 53n + 1n, MAX_UINT64),
);
const int32 = fc.oneof(fc.constantFrom(-1, 0, 1, 2), fc.integer());
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("__proto__", "constructor", "\uFEFFbom"),
);
const breakdown = fc
  .array(fc.tuple(text, uint64))
  .map(
    (entries): Record<string, bigint> =>
      Object.assign(Object.create(null), Object.fromEntries(entries), protoOf(entries)),
  );
const statusResponse: fc.Arbitrary<BackendStatus> = fc.oneof(
  fc.record({ state: int32 }),
  fc.record({ state: int32, memory: fc.record({ total: uint64, breakdown }) }),
);

/** Object.fromEntries() keeps "__proto__" as a member, but Object.assign() would set the prototype with it. */
function protoOf(entries: [string, bigint][]) {
  const proto = entries.filter(([key]) => key === "__proto__").at(-1);
  return proto ? Object.defineProperty({}, "__proto__", { value: proto[1], enumerable: true }) : {};
}

/** As proto-loader shows it: uint64 as a string. */
function asLoaded({ state, memory }: BackendStatus) {
  if (!memory) return { state, memory: null };
  return { state, memory: { total: `${memory.total}`, breakdown: plain(memory.breakdown) } };
}

function plain(record: Record<string, unknown>) {
  return Object.entries(record)
    .filter(([key]) => key !== "__proto__") // protobufjs drops it
    .map(([key, value]): [string, string] => [key, String(value)])
    .sort();
}

function loaded(bytes: Uint8Array) {
  const { state, memory } = Status.responseDeserialize(Buffer.from(bytes)) as {
    state: number;
    memory: { total: string; breakdown: Record<string, string> } | null;
  };
  return { state, memory: memory && { total: memory.total, breakdown: plain(memory.breakdown) } };
}

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
}

describe("StatusResponse", () => {
  it("reads what @grpc/proto-loader writes", () => {
    fc.assert(
      fc.property(statusResponse, (status) => {
        const written = Status.responseSerialize({
          state: status.state,
          memory: status.memory && {
            total: `${status.memory.total}`,
            breakdown: stringly(status.memory.breakdown),
          },
        }) as Buffer;
        expect(asLoaded(decodeStatusResponse(written))).toEqual(asLoaded(status));
      }),
      { numRuns: 500 },
    );
  });

  it("writes what @grpc/proto-loader reads", () => {
    fc.assert(
      fc.property(statusResponse, (status) => {
        expect(loaded(encodeStatusResponse(status))).toEqual(asLoaded(status));
      }),
      { numRuns: 500 },
    );
  });

  it("keeps every key of the breakdown, __proto__ too", () => {
    fc.assert(
      fc.property(breakdown, (parts) => {
        const read = decodeStatusResponse(
          encodeStatusResponse({ state: 2, memory: { total: 1n, breakdown: parts } }),
        );
        expect(Object.entries(read.memory?.breakdown ?? {}).sort()).toEqual(Object.entries(parts).sort());
      }),
    );
  });

  it("reads a negative state, which takes ten bytes", () => {
    expect(decodeStatusResponse(bytes("08 ffffffffffffffffff01"))).toEqual({ state: -1 });
  });

  it("passes on a state that the protocol adds later", () => {
    expect(decodeStatusResponse(bytes("08 2a"))).toEqual({ state: 42 });
  });

  it("reads the whole range of uint64", () => {
    const { memory } = decodeStatusResponse(bytes("12 0b 08 ffffffffffffffffff01"));
    expect(memory?.total).toBe(18446744073709551615n);
  });

  it("skips fields that it does not know, whatever they are", () => {
    const varint = "18 05";
    const fixed64 = "21 0102030405060708";
    const delimited = "2a 03 aabbcc";
    const group = "33 08 01 34";
    const fixed32 = "3d 01020304";
    expect(
      decodeStatusResponse(bytes(`${varint} ${fixed64} 08 02 ${delimited} ${group} ${fixed32}`)),
    ).toEqual({ state: 2 });
  });

  it("skips a field that it knows where it has another wire type", () => {
    expect(decodeStatusResponse(bytes("0a 01 02 10 07 08 01"))).toEqual({ state: 1 });
  });

  it("takes the last of a field that comes twice, and merges a message that does", () => {
    const first = "12 09 08 01 12 05 0a 01 61 10 01"; // total 1, a: 1
    const second = "12 09 08 02 12 05 0a 01 62 10 02"; // total 2, b: 2
    expect(decodeStatusResponse(bytes(`08 01 ${first} 08 02 ${second}`))).toEqual({
      state: 2,
      memory: { total: 2n, breakdown: Object.assign(Object.create(null), { a: 1n, b: 2n }) },
    });
  });

  it("takes an entry without key or value as '' and 0", () => {
    expect(decodeStatusResponse(bytes("12 02 12 00")).memory?.breakdown).toEqual({ "": 0n });
  });

  it("never reads truncated bytes as something else than @grpc/proto-loader does", () => {
    fc.assert(
      fc.property(statusResponse, (status) => {
        const whole = encodeStatusResponse(status);
        for (let length = 0; length < whole.length; length++) {
          const part = whole.slice(0, length);
          expect(attempt(() => asLoaded(decodeStatusResponse(part)))).toEqual(attempt(() => loaded(part)));
        }
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    ["a varint that does not end", "08 ff"],
    ["a varint of eleven bytes", "08 ffffffffffffffffffff01"],
    ["a length beyond the end", "12 05 08"],
    ["field number 0", "00 01"],
    ["a wire type that does not exist", "0e"],
    ["a group that does not end", "1b 08 01"],
    ["a group that ends as another", "1b 24"],
    ["the end of a group that did not start", "1c"],
    ["a key that is not UTF-8", "12 07 12 05 0a 01 ff 10 01"],
  ])("refuses %s", (_what, hex) => {
    expect(() => decodeStatusResponse(bytes(hex))).toThrow();
  });

  it("reads or refuses any bytes, and does not hang", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (anything) => {
        const status = attempt(() => decodeStatusResponse(anything));
        if (status !== "refused") expect(Number.isInteger(status.state)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("Reply and Result", () => {
  it("are read and written as @grpc/proto-loader does it", () => {
    fc.assert(
      fc.property(
        fc.uint8Array(),
        fc.string({ unit: "grapheme" }),
        fc.boolean(),
        (message, said, success) => {
          const reply = Health.responseSerialize({ message: Buffer.from(message) }) as Buffer;
          expect(Buffer.from(decodeReply(reply).message)).toEqual(Buffer.from(message));
          const read = Health.responseDeserialize(Buffer.from(encodeReply({ message }))) as {
            message: Buffer;
          };
          expect(Buffer.from(read.message)).toEqual(Buffer.from(message));

          const result = { message: said, success };
          expect(decodeResult(Free.responseSerialize(result) as Buffer)).toEqual(result);
          expect(Free.responseDeserialize(Buffer.from(encodeResult(result)))).toEqual(result);
        },
      ),
    );
  });

  it("skip the fields that LocalAI has beside them", () => {
    // Reply: message "OK", tokens 3, timing 1.5
    expect(decodeReply(bytes("0a 02 4f4b 10 03 21 000000000000f83f"))).toEqual({ message: bytes("4f4b") });
  });
});

function stringly(record: Record<string, bigint>) {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, `${value}`]));
}

function attempt<T>(task: () => T): T | "refused" {
  try {
    return task();
  } catch {
    return "refused";
  }
}
