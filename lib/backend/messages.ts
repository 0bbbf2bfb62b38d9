/**
 * The three messages of LocalAI's backend protocol that a monitor reads (protos/backend.proto), on
 * google-protobuf's reader and writer. A reply that breaks the protocol throws; a field that is not named
 * here is skipped, and so is one that is named but comes with another wire type, as every protobuf decoder
 * does it.
 */
import protobuf from "google-protobuf";
import { BackendState, type BackendStatus, type MemoryUsage } from "./status.js";

const { BinaryReader, BinaryWriter } = protobuf;

/** Wire types: https://protobuf.dev/programming-guides/encoding/#structure */
const VARINT = 0;
const DELIMITED = 2;

export interface Reply {
  message: Uint8Array;
}

export interface Result {
  message: string;
  success: boolean;
}

type Reader = InstanceType<typeof BinaryReader>;

// Strings must be UTF-8 (proto3); a byte order mark is a character like any other.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Calls `field` for each field of the message; one that it does not read is skipped. */
function readFields(bytes: Uint8Array, field: (number: number, wireType: number, reader: Reader) => boolean) {
  const reader = new BinaryReader(bytes);
  while (reader.nextField()) {
    if (!field(reader.getFieldNumber(), reader.getWireType(), reader)) reader.skipField();
  }
}

function readUint64(reader: Reader): bigint {
  return BigInt(reader.readUint64String());
}

function readText(reader: Reader): string {
  return utf8.decode(reader.readBytes());
}

export function encodeHealthMessage(): Uint8Array {
  return new Uint8Array(0);
}

export function decodeReply(bytes: Uint8Array): Reply {
  const reply: Reply = { message: new Uint8Array(0) };
  readFields(bytes, (number, wireType, reader) => {
    if (number !== 1 || wireType !== DELIMITED) return false;
    reply.message = reader.readBytes();
    return true;
  });
  return reply;
}

export function encodeReply(reply: Reply): Uint8Array {
  const writer = new BinaryWriter();
  if (reply.message.length > 0) writer.writeBytes(1, reply.message);
  return writer.getResultBuffer();
}

export function decodeResult(bytes: Uint8Array): Result {
  const result: Result = { message: "", success: false };
  readFields(bytes, (number, wireType, reader) => {
    if (number === 1 && wireType === DELIMITED) result.message = readText(reader);
    else if (number === 2 && wireType === VARINT) result.success = reader.readBool();
    else return false;
    return true;
  });
  return result;
}

export function encodeResult(result: Result): Uint8Array {
  const writer = new BinaryWriter();
  if (result.message !== "") writer.writeString(1, result.message);
  if (result.success) writer.writeBool(2, true);
  return writer.getResultBuffer();
}

export function decodeStatusResponse(bytes: Uint8Array): BackendStatus {
  const status: BackendStatus = { state: BackendState.UNINITIALIZED };
  readFields(bytes, (number, wireType, reader) => {
    if (number === 1 && wireType === VARINT) {
      status.state = reader.readEnum();
    } else if (number === 2 && wireType === DELIMITED) {
      // A message field that comes twice is one message, merged.
      status.memory ??= { total: 0n, breakdown: Object.create(null) };
      readMemoryUsage(reader.readBytes(), status.memory);
    } else return false;
    return true;
  });
  return status;
}

export function encodeStatusResponse(status: BackendStatus): Uint8Array {
  const writer = new BinaryWriter();
  if (status.state !== 0) writer.writeEnum(1, status.state);
  if (status.memory) {
    const memory = new BinaryWriter();
    if (status.memory.total !== 0n) memory.writeUint64String(1, String(status.memory.total));
    for (const [key, value] of Object.entries(status.memory.breakdown)) {
      const entry = new BinaryWriter();
      entry.writeString(1, key);
      entry.writeUint64String(2, String(value));
      memory.writeBytes(2, entry.getResultBuffer());
    }
    writer.writeBytes(2, memory.getResultBuffer());
  }
  return writer.getResultBuffer();
}

function readMemoryUsage(bytes: Uint8Array, memory: MemoryUsage): void {
  readFields(bytes, (number, wireType, reader) => {
    if (number === 1 && wireType === VARINT) {
      memory.total = readUint64(reader);
    } else if (number === 2 && wireType === DELIMITED) {
      const [key, value] = readBreakdownEntry(reader.readBytes());
      memory.breakdown[key] = value;
    } else return false;
    return true;
  });
}

function readBreakdownEntry(bytes: Uint8Array): [key: string, value: bigint] {
  let key = "";
  let value = 0n;
  readFields(bytes, (number, wireType, reader) => {
    if (number === 1 && wireType === DELIMITED) key = readText(reader);
    else if (number === 2 && wireType === VARINT) value = readUint64(reader);
    else return false;
    return true;
  });
  return [key, value];
}
