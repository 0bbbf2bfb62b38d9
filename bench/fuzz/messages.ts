import { isUtf8 } from "node:buffer";
import fc, { type Arbitrary } from "fast-check";
import { protocol, type Replies } from "./backend.js";

/** What the fields of a message are, by their numbers: as protos/backend.proto has it. */
type Schema = { [number: number]: "state" | "uint64" | "bool" | "text" | "key" | "bytes" | Schema };

const schemas: Record<keyof Replies, Schema> = {
  Status: { 1: "state", 2: { 1: "uint64", 2: { 1: "key", 2: "uint64" } } },
  Health: { 1: "bytes" },
  Free: { 1: "text", 2: "bool" },
};

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const GROUP = 3;
const GROUP_END = 4;
const FIXED32 = 5;

const weighted = <T>(...parts: [weight: number, arbitrary: Arbitrary<T>][]) =>
  fc.oneof(...parts.map(([weight, arbitrary]) => ({ weight, arbitrary })));

const tag = (number: number, wireType: number) => varint(BigInt(number * 8 + wireType));
const delimited = (bytes: Uint8Array) => Buffer.concat([varint(BigInt(bytes.length)), bytes]);

function varint(value: bigint, atLeast = 1): Buffer {
  const bytes: number[] = [];
  for (let rest = value; rest > 0n || bytes.length < atLeast; rest >>= 7n)
    bytes.push(Number(rest & 127n) | 128);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) & 127;
  return Buffer.from(bytes);
}

const number64 = weighted(
  [1, fc.constantFrom(0n, 1n, 2n, 2n ** 31n, 2n ** 53n + 1n, 2n ** 64n - 1n, 2n ** 64n - 2n ** 31n)],
  [1, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })],
);
const varints = fc
  .tuple(number64, weighted([5, fc.constant(1)], [1, fc.integer({ min: 2, max: 10 })]))
  .map(([value, atLeast]) => varint(value, atLeast));

const chunk = weighted<Uint8Array>(
  [
    60,
    fc
      .constantFrom("", "OK", "OK ", "weights", "__proto__", "constructor", "7", "模型 🦙", "\ufeffa")
      .map(Buffer.from),
  ],
  [2, fc.uint8Array({ maxLength: 12 })],
  [1, fc.constantFrom("ff", "c328", "eda080").map((hex) => Buffer.from(hex, "hex"))],
);

/** The bytes of any field of this wire type. */
function anyField(wireType: number): Arbitrary<Uint8Array> {
  switch (wireType) {
    case VARINT:
      return varints;
    case FIXED64:
      return fc.uint8Array({ minLength: 8, maxLength: 8 });
    case DELIMITED:
      return chunk.map(delimited);
    case FIXED32:
      return fc.uint8Array({ minLength: 4, maxLength: 4 });
    default:
      return fc.uint8Array({ maxLength: 4 });
  }
}

const fieldOf = (numbers: number[], wireTypes: number[]) =>
  fc
    .tuple(fc.constantFrom(...numbers), fc.constantFrom(...wireTypes))
    .chain(([number, wireType]) =>
      anyField(wireType).map((bytes) => Buffer.concat([tag(number, wireType), bytes])),
    );

/** To be skipped: unknown, or of another wire type than the schema has. */
const strangeField = fieldOf([1, 1, 2, 2, 3, 15, 16, 2 ** 28], [VARINT, FIXED64, DELIMITED, FIXED32]);
const brokenField = fieldOf([0, 1, 2, 3], [GROUP, GROUP_END, 6, 7]);

const group = fc
  .tuple(fc.constantFrom(1, 2, 9), strangeField)
  .map(([number, inside]) => Buffer.concat([tag(number, GROUP), inside, tag(number, GROUP_END)]));

function message(schema: Schema): Arbitrary<Uint8Array> {
  const known = Object.entries(schema).map(([number, kind]) => {
    const [wireType, bytes] =
      typeof kind === "object"
        ? [DELIMITED, message(kind).map(delimited)]
        : kind === "text" || kind === "key" || kind === "bytes"
          ? [DELIMITED, chunk.map(delimited)]
          : [VARINT, varints];
    const arbitrary = bytes.map((value) => Buffer.concat([tag(Number(number), wireType), value]));
    // Most of what can go wrong is in what has fields itself.
    return { weight: wireType === DELIMITED ? 3 : 1, arbitrary };
  });
  const field = weighted<Uint8Array>(
    [150, fc.oneof(...known)],
    [18, strangeField],
    [12, group],
    [1, brokenField],
  );
  return fc.array(field, { maxLength: 6, size: "max" }).map((fields) => Buffer.concat(fields));
}

const damage = fc.record({
  how: fc.constantFrom("flip", "cut", "drop", "insert"),
  at: fc.nat(),
  byte: weighted([1, fc.nat({ max: 255 })], [1, fc.constantFrom(0, 1, 127, 128, 255)]),
});

/** Damages some of the bytes. */
export function damaged(bytes: Arbitrary<Uint8Array>): Arbitrary<Uint8Array> {
  return fc.tuple(bytes, fc.array(damage, { minLength: 1, maxLength: 3 })).map(([whole, damages]) => {
    let left = [...whole];
    for (const { how, at, byte } of damages) {
      const index = at % (left.length + 1);
      if (how === "cut") left = left.slice(0, index);
      else if (how === "insert") left.splice(index, 0, byte);
      else if (how === "drop") left.splice(index, 1);
      else if (index < left.length) left[index] = byte;
    }
    return Uint8Array.from(left);
  });
}

function reply(schema: Schema): Arbitrary<Uint8Array | undefined> {
  return weighted<Uint8Array | undefined>(
    [5, message(schema)],
    [3, damaged(message(schema))],
    [1, fc.uint8Array({ maxLength: 60 })],
    [1, fc.constant(undefined)],
  );
}

export interface WireMessages {
  replies: Replies;
  hasProcess: boolean;
}

export const messages: Arbitrary<WireMessages> = fc.record({
  replies: fc.record({
    Status: reply(schemas.Status),
    Health: reply(schemas.Health),
    Free: reply(schemas.Free),
  }),
  hasProcess: fc.boolean(),
});

/** What `decode` has in the place of a key `__proto__`, which `protobufjs` drops. */
export const PROTO_STAND_IN = "the key __proto__";

/** What `protobufjs` reads; `undefined` where the bytes are to be refused. */
export function decode<T>(call: keyof Replies, bytes: Uint8Array): T | undefined {
  let plain: Buffer;
  try {
    plain = Buffer.concat(rewrite(bytes, schemas[call]));
  } catch (error) {
    if (error instanceof Broken) return undefined;
    throw error;
  }
  return protocol[call].responseDeserialize(plain) as T;
}

/** The bytes are no message, by https://protobuf.dev/programming-guides/encoding/ */
class Broken extends Error {}

/**
 * The same message as `protobufjs` has to get it, to read what the specification says. By itself it takes fields of any wire
 * type for the one in the schema, replaces a message that comes twice instead of merging it, misreads varints of
 * six to nine bytes where it wants 32 bits, takes invalid UTF-8, and does not compare the two ends of a group.
 */
function rewrite(bytes: Uint8Array, schema: Schema): Buffer[] {
  let merged: Buffer[] | undefined;
  const plain: Buffer[] = [];
  for (const { number, wireType, value, payload } of fields(Buffer.from(bytes))) {
    const kind = schema[number];
    if (wireType === VARINT && (kind === "state" || kind === "uint64" || kind === "bool")) {
      plain.push(tag(number, VARINT), varint(canonical(kind, value)));
    } else if (wireType === DELIMITED && (kind === "text" || kind === "key" || kind === "bytes")) {
      if (kind !== "bytes" && !isUtf8(payload)) throw new Broken("not UTF-8");
      const isDropped = kind === "key" && payload.equals(Buffer.from("__proto__"));
      plain.push(tag(number, DELIMITED), delimited(isDropped ? Buffer.from(PROTO_STAND_IN) : payload));
    } else if (wireType === DELIMITED && typeof kind === "object") {
      const inside = rewrite(payload, kind);
      // The entries of a map are repeated; memory is not.
      if (schema === schemas.Status) merged = [...(merged ?? []), ...inside];
      else plain.push(tag(number, DELIMITED), delimited(Buffer.concat(inside)));
    }
  }
  return merged ? [...plain, tag(2, DELIMITED), delimited(Buffer.concat(merged))] : plain;
}

function canonical(kind: Schema[number] | undefined, value: bigint): bigint {
  if (kind === "bool") return value === 0n ? 0n : 1n;
  return kind === "state" ? BigInt.asUintN(64, BigInt.asIntN(32, value)) : value;
}

interface Field {
  number: number;
  wireType: number;
  value: bigint;
  payload: Buffer;
}

function fields(bytes: Buffer): Field[] {
  let at = 0;
  const found: Field[] = [];
  while (at < bytes.length) found.push(readField());
  return found;

  function readField(): Field {
    const key = readUint32();
    const number = Math.floor(key / 8);
    const wireType = key % 8;
    if (number === 0) throw new Broken("no such field");
    const field: Field = { number, wireType, value: 0n, payload: Buffer.alloc(0) };
    if (wireType === VARINT) field.value = readVarint();
    else if (wireType === FIXED64) take(8);
    else if (wireType === DELIMITED) field.payload = take(readUint32());
    else if (wireType === FIXED32) take(4);
    else if (wireType === GROUP) skipGroup(number);
    else throw new Broken("no such wire type here");
    return field;
  }

  function skipGroup(number: number): void {
    const end = tag(number, GROUP_END);
    while (!bytes.subarray(at).subarray(0, end.length).equals(end)) readField();
    at += end.length;
  }

  /** A tag or a length. Of one that has more than 32 bits, everybody takes the lowest 32. */
  function readUint32(): number {
    return Number(BigInt.asUintN(32, readVarint()));
  }

  function readVarint(): bigint {
    for (let value = 0n, shift = 0n; shift < 70n; shift += 7n) {
      const byte = take(1)[0] ?? 0;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new Broken("a varint of more than ten bytes");
  }

  function take(length: number): Buffer {
    if (length > bytes.length - at) throw new Broken("it ends too early");
    at += length;
    return bytes.subarray(at - length, at);
  }
}
