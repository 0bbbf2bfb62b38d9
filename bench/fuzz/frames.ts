import fc, { type Arbitrary } from "fast-check";
import { REPORT } from "./backend.js";
import { damaged } from "./messages.js";

/** What is sent on a connection where the answer of a backend is expected. */
export interface WireConnection {
  /** Sent at once. */
  greeting: Uint8Array;
  /** Sent when the call has come. */
  answer: Uint8Array;
  atLast: "silence" | "end" | "reset";
  hasProcess: boolean;
  force: boolean;
  /** Whether it is stopped while the monitor waits for it. */
  atOnce: boolean;
}

const [DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION] = [
  0, 1, 3, 4, 5, 6, 7, 8, 9,
];
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;

/** https://www.rfc-editor.org/rfc/rfc9113#section-4.1 */
function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.of()): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Neither indexed nor in Huffman's code: https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2 */
function field(name: string, value: string): Buffer {
  const text = (words: string) => [Buffer.of(words.length), Buffer.from(words, "latin1")];
  return Buffer.concat([Buffer.of(0), ...text(name), ...text(value)]);
}

const STATUS_200 = Buffer.of(0x88);
const CONTENT_TYPE = field("content-type", "application/grpc");

function grpcMessage(bytes: Uint8Array, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

const trailers = (...fields: Buffer[]) => frame(HEADERS, END_HEADERS | END_STREAM, 1, Buffer.concat(fields));

const settings = frame(SETTINGS, 0, 0);
const soundAnswer = [
  frame(SETTINGS, ACK, 0),
  frame(HEADERS, END_HEADERS, 1, Buffer.concat([STATUS_200, CONTENT_TYPE])),
  frame(DATA, 0, 1, grpcMessage(REPORT.bytes)),
  trailers(field("grpc-status", "0")),
];

const strangeFrame: Arbitrary<Uint8Array> = fc.oneof(
  fc.constantFrom(
    frame(RST_STREAM, 0, 1, Buffer.of(0, 0, 0, 8)),
    frame(RST_STREAM, 0, 1, Buffer.of(0, 0, 0, 7)),
    frame(RST_STREAM, 0, 0, Buffer.of(0, 0, 0, 7)),
    frame(GOAWAY, 0, 0, Buffer.alloc(8)),
    frame(GOAWAY, 0, 0, Buffer.from("000000010000000b746f6f5f6d616e795f70696e6773", "hex")),
    frame(PING, 0, 0, Buffer.alloc(8)),
    frame(PING, 0, 0, Buffer.alloc(7)),
    frame(WINDOW_UPDATE, 0, 1, Buffer.of(0, 0, 0, 0)),
    frame(WINDOW_UPDATE, 0, 0, Buffer.of(0x7f, 255, 255, 255)),
    frame(CONTINUATION, END_HEADERS, 1, CONTENT_TYPE),
    frame(PUSH_PROMISE, END_HEADERS, 1, Buffer.of(0, 0, 0, 2, 0x88)),
    frame(SETTINGS, 0, 0, Buffer.of(0, 4, 255, 255, 255, 255)),
    frame(SETTINGS, 0, 0, Buffer.of(0, 5, 0, 0, 0, 1)),
    frame(SETTINGS, 0, 0, Buffer.alloc(5)),
    Buffer.concat(Array.from({ length: 2_000 }, () => frame(SETTINGS, 0, 0))),
    Buffer.concat(Array.from({ length: 2_000 }, () => frame(PING, 0, 0, Buffer.alloc(8)))),
    frame(DATA, 0, 1, grpcMessage(REPORT.bytes, 1)),
    frame(DATA, 0, 1, Buffer.of(0, 255, 255, 255, 255)),
    frame(DATA, 0, 1, grpcMessage(Buffer.alloc(16_000))),
    frame(DATA, 0, 3, grpcMessage(REPORT.bytes)),
    frame(HEADERS, END_HEADERS, 1, Buffer.of(0x8d, 0x80)),
    frame(HEADERS, 0, 1, STATUS_200),
    trailers(STATUS_200, CONTENT_TYPE, field("grpc-status", "12")),
    trailers(STATUS_200, CONTENT_TYPE, field("grpc-status", "99"), field("grpc-message", "%ff%0a\u00ff</b>")),
    trailers(STATUS_200, CONTENT_TYPE, field("grpc-status", "x")),
    trailers(STATUS_200, CONTENT_TYPE, field("grpc-encoding", "br"), field("grpc-status", "0")),
    trailers(STATUS_200, field("content-type", "text/html")),
    trailers(field(":status", "302"), field("location", "http://h.example/")),
    trailers(field(":status", "x")),
    trailers(field("__proto__", "x"), field("grpc-status", "0")),
    trailers(STATUS_200, CONTENT_TYPE, field("X-UPPER", "x"), field("grpc-status-details-bin", "///")),
  ),
  fc
    .tuple(fc.nat({ max: 12 }), fc.nat({ max: 255 }), fc.nat({ max: 3 }), fc.uint8Array({ maxLength: 40 }))
    .map(([type, flags, stream, payload]) => frame(type, flags, stream, payload)),
);

const noHttp2: Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 100 }),
  fc
    .constantFrom(
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "SSH-2.0-OpenSSH_9.6\r\n",
      "\u0015\u0003\u0001\u0000\u0002\u0002\u0046",
      "",
    )
    .map((text) => Buffer.from(text, "latin1")),
);

/** A sound answer with strange frames in between, or in the place of others. */
const frames = fc
  .array(fc.tuple(fc.nat({ max: soundAnswer.length }), fc.nat({ max: 2 }), strangeFrame), { maxLength: 3 })
  .map((changes) => {
    const all: Uint8Array[] = [...soundAnswer];
    for (const [at, instead, strange] of changes) all.splice(at, instead, strange);
    return Buffer.concat(all);
  });

export const connections: Arbitrary<WireConnection> = fc.record({
  greeting: fc.oneof(
    { weight: 6, arbitrary: fc.constant(settings) },
    { weight: 1, arbitrary: damaged(fc.constant(settings)) },
    { weight: 1, arbitrary: strangeFrame.map((strange) => Buffer.concat([settings, strange])) },
    { weight: 1, arbitrary: noHttp2 },
  ),
  answer: fc.oneof(
    { weight: 4, arbitrary: frames },
    { weight: 3, arbitrary: damaged(frames) },
    { weight: 1, arbitrary: noHttp2 },
  ),
  atLast: fc.constantFrom("end", "end", "reset", "silence"),
  hasProcess: fc.boolean(),
  force: fc.boolean(),
  atOnce: fc.boolean(),
});

/** What a backend has to report when nothing of this is wrong. */
export function isSound({ greeting, answer }: WireConnection): boolean {
  return Buffer.concat([settings, ...soundAnswer]).equals(Buffer.concat([greeting, answer]));
}
