import { METHODS } from "node:http";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import fc, { type Arbitrary } from "fast-check";
import { modelNames } from "./models.js";

/** A request in parts, so that what is expected of it can be told; most of its bytes are its `render`ing. */
export interface FuzzRequest {
  /** How the host app is set up. */
  host: "bare" | "parses all itself" | "guarded";
  method: string;
  path: string;
  /** With its question mark, where it has one. */
  query: string;
  headers: [name: string, value: string][];
  authorization: Authorization | undefined;
  body: Body | undefined;
  /** Something that Node itself may refuse, or read in another way: one more line among the headers. */
  odd: string | undefined;
}

export interface Authorization {
  value: string;
  passes: boolean;
}

export interface Body {
  type: ContentType | undefined;
  coding: Coding | undefined;
  /** What was encoded. */
  plain: Uint8Array;
  /** As it is sent, but for the framing. */
  bytes: Uint8Array;
  /** `short` and `long` are lengths that lie: what they leave over begins a second request, or never comes. */
  framing: "length" | "chunked" | "short" | "long" | "bad chunks";
}

export interface ContentType {
  value: string;
  /** `other` is none of JSON's types; `unclear` may be read or not. */
  is: "json" | "other" | "unclear";
  charset: "utf-8" | "utf-16le" | "utf-16be" | "unsupported" | "unclear";
}

export interface Coding {
  value: string;
  is: "fine" | "unsupported" | "broken" | "unclear";
}

export const MAX_BODY_BYTES = 16 * 1024;
export const TOKEN = "s3cret";
export const MONITOR_PATHS = ["/backend/monitor", "/v1/backend/monitor"];
export const SHUTDOWN_PATHS = ["/backend/shutdown", "/v1/backend/shutdown"];

function weighted<T>(...parts: [weight: number, arbitrary: Arbitrary<T>][]): Arbitrary<T> {
  return fc.oneof(...parts.map(([weight, arbitrary]) => ({ weight, arbitrary })));
}

/** Of each kind that might be treated in its own way. */
const character = fc.constantFrom(
  ...Array.from(
    "ab Z09/\\:.%+&=?#\"'<>{}[]é模🦙\u0000\n\u001b\u007f\u0085\u00a0\u200b\u202e\u2028\ufeff\ufffd\uffff",
  ),
  "\ud800",
  "e\u0301",
);

const name = weighted<string>(
  [12, fc.constantFrom(...modelNames)],
  [5, fc.string({ unit: character })],
  [1, fc.constantFrom("x".repeat(512), "x".repeat(513), "🦙".repeat(512), "🦙".repeat(513), "", " ", "M")],
  [1, fc.constantFrom("a\u0000b", "a\nb", "m\n", "\u007f", "\u0085", "\ud800", "\ufeffm", "<b>&\u202e")],
);

const wellFormed = (text: string) => text.replace(/\p{Cs}/gu, "\ufffd");
const plus = (text: string) => encodeURIComponent(wellFormed(text)).replaceAll("%20", "+");
const everyByte = (text: string) => Buffer.from(text).toString("hex").replace(/../g, "%$&");

const modelPair = weighted<string>(
  [8, name.map((model) => `model=${plus(model)}`)],
  [1, name.map((model) => `model=${everyByte(model)}`)],
  [1, name.map((model) => `mo%64el=${plus(model)}`)],
  [
    1,
    fc.constantFrom(
      "model",
      "model=",
      "model=%ff",
      "model=%c3%28m",
      "model=%ed%a0%80",
      "model=%",
      "model=100%",
      "model=%zz%4",
      "model=a=b",
      "model=%F0%9F%A6%99",
      "model=%EF%BB%BFm",
    ),
  ],
);

const otherPair = fc.constantFrom(
  "",
  "x=1",
  "model[]=m",
  "model[name]=m",
  "model%5B%5D=m",
  "Model=m",
  "__proto__=m",
  "__proto__[model]=m",
  "constructor[prototype][model]=m",
  "?model=m",
  "model%00=m",
  "+model=m",
  "%ff=%ff",
  "force=true",
  "=model",
  "x=%E0%A4%A",
);

const query = weighted<string>(
  [10, modelPair.map((pair) => `?${pair}`)],
  [
    3,
    fc
      .array(weighted([1, modelPair], [3, otherPair]), { maxLength: 4 })
      .map((pairs) => `?${pairs.join("&")}`),
  ],
  [2, fc.constant("")],
);

/** Paths that are the host's. */
const otherPath = weighted<string>(
  [
    4,
    fc.constantFrom(
      ...[...MONITOR_PATHS, ...SHUTDOWN_PATHS].flatMap((path) => [
        `${path}/`,
        `/${path}`,
        `${path}x`,
        `/x${path}`,
        `/v2${path}`,
        `/v1${path}/..`,
        `${path};a=b`,
        `${path}%00`,
        `${path}%2f`,
        path.toUpperCase(),
        path.replace("end/", "end//"),
        path.replace("end/", "end%2F"),
        path.replace("end/", "end/./"),
        path.replace("o", "%6f"),
        path.replace("/b", "/%E0%A4%Ab"),
        path.replaceAll("/", "\\").replace("\\", "/"),
      ]),
      "/",
      "//",
      "*",
      "/backend",
      "/backend/monitor/m",
      `/${"backend/".repeat(500)}monitor`,
      `/${"%2e%2e/".repeat(500)}`,
    ),
  ],
  [
    1,
    fc
      .array(
        fc.constantFrom(
          "backend",
          "monitor",
          "v1",
          "..",
          ".",
          "",
          "%2e",
          "%F0%9F",
          "~",
          "a:b@c!$&'()*,=|\"`^{}",
        ),
      )
      .map((parts) => `/x/${parts.join("/")}`),
  ],
);

const commonMethod = (own: string) =>
  weighted<string>(
    [14, fc.constant(own)],
    [2, fc.constantFrom("GET", "HEAD", "POST")],
    [1, fc.constant("OPTIONS")],
    [1, fc.constantFrom(...METHODS.filter((method) => method !== "CONNECT"))],
  );

const target = weighted<Pick<FuzzRequest, "method" | "path">>(
  [8, fc.record({ method: commonMethod("GET"), path: fc.constantFrom(...MONITOR_PATHS) })],
  [8, fc.record({ method: commonMethod("POST"), path: fc.constantFrom(...SHUTDOWN_PATHS) })],
  [2, fc.record({ method: commonMethod("GET"), path: otherPath })],
  [
    1,
    fc.record({
      method: commonMethod("GET"),
      path: fc.constantFrom(...MONITOR_PATHS, ...SHUTDOWN_PATHS).map((path) => `http://h.example:1${path}`),
    }),
  ],
);

const headerText = fc.string({
  unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => (code === 0x7f ? "~" : String.fromCharCode(code))),
  maxLength: 40,
});

const header = weighted<[string, string]>(
  [
    3,
    fc.constantFrom<[string, string][]>(
      ["Accept", "text/html"],
      ["Accept-Encoding", "gzip, br;q=1.0, *;q=0"],
      ["Accept-Charset", "utf-16"],
      ["Cookie", "model=m; __proto__=x"],
      ["If-None-Match", "*"],
      ["If-Modified-Since", "Tue, 01 Jan 2999 00:00:00 GMT"],
      ["Range", "bytes=0-1"],
      ["Origin", "http://evil.example"],
      ["X-HTTP-Method-Override", "DELETE"],
      ["X-Forwarded-Host", "evil.example"],
      ["X-Original-URL", "/admin"],
      ["Upgrade", "websocket"],
      ["Connection", "keep-alive"],
      ["Connection", "close"],
      ["Connection", "upgrade"],
      ["Expect", "100-continue"],
      ["Prefer", "return=minimal"],
      ["__proto__", "x"],
      ["constructor", "x"],
      ["X-Long", "x".repeat(4000)],
    ),
  ],
  [1, fc.tuple(fc.stringMatching(/^X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}$/), headerText)],
);

const odd = fc.oneof(
  fc.constantFrom(
    "Host: twice.example",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 1e3",
    "Content-Length: 99999999999999999999",
    "Content-Length: 4, 4",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding : chunked",
    "Content-Type: text/plain",
    "Content-Type: application/json",
    "Content-Encoding: gzip",
    "Expect: the unexpected",
    "X: a\u0000b",
    "X: a\u0007b",
    "X: a\r",
    "X: a\n Y: b",
    " folded: x",
    "no colon",
    ": no name",
    "X y: z",
    "\u00e4: x",
    `X: ${"x".repeat(20_000)}`,
    ...Array.from({ length: 3 }, (_, index) => "Y: y\r\n".repeat(500 * (index + 1)).trimEnd()),
  ),
  headerText,
);

const type = weighted<ContentType>(
  [
    20,
    fc.constantFrom(
      ...[
        "application/json",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "Application/JSON",
        "application/problem+json",
        "application/json; profile=x",
        // What is no letter or digit counts for nothing in the name of a charset.
        "application/json; charset=utf-8-",
        "application/json; charset=utf-8:1999",
      ].map((value): ContentType => ({ value, is: "json", charset: "utf-8" })),
    ),
  ],
  [
    3,
    fc.constantFrom<ContentType[]>(
      { value: "application/json; charset=utf-16le", is: "json", charset: "utf-16le" },
      { value: "application/json; charset=UTF-16BE", is: "json", charset: "utf-16be" },
      ...["latin1", "utf8", "utf-99", "x'\"<&\u00e4"].map(
        (charset): ContentType => ({
          value: `application/json; charset=${/^[a-z0-9-]+$/.test(charset) ? charset : JSON.stringify(charset)}`,
          is: "json",
          charset: "unsupported",
        }),
      ),
      ...[
        "charset",
        "charset=",
        "charset=utf-7",
        "charset=utf-16",
        "charset=utf-32",
        ";;",
        "charset=a b",
      ].map(
        (parameter): ContentType => ({
          value: `application/json; ${parameter}`,
          is: "unclear",
          charset: "unclear",
        }),
      ),
    ),
  ],
  [
    3,
    fc.constantFrom(
      ...[
        "text/plain",
        "text/plain; charset=application/json",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/jsonp",
        "application/octet-stream",
        "json",
        "*/*",
        "application/*",
        "/",
        "text/x+json",
      ].map((value): ContentType => ({ value, is: "other", charset: "unclear" })),
    ),
  ],
  [1, headerText.map((value) => ({ value, is: "unclear", charset: "unclear" }) as const)],
);

const force = weighted<unknown>(
  [3, fc.boolean()],
  [1, fc.constantFrom<unknown[]>("true", 1, 0, null, [], {})],
);

const deep = (depth: number) => "[".repeat(depth) + "]".repeat(depth);

const bodyText = weighted<string>(
  [12, name.map((model) => JSON.stringify({ model }))],
  [4, fc.tuple(name, force).map(([model, forced]) => JSON.stringify({ force: forced, model }))],
  [
    1,
    fc
      .tuple(name, fc.json())
      .map(([model, other]) => `{"other": ${other}, "model": ${JSON.stringify(model)}}`),
  ],
  [1, fc.tuple(name, name).map((models) => `{${models.map((model) => `"model":${JSON.stringify(model)}`)}}`)],
  [1, fc.json()],
  [1, fc.json().map((model) => `{"model": ${model}}`)],
  [
    2,
    fc.constantFrom(
      "",
      " ",
      "null",
      "{}",
      '{"__proto__": {"model": "m"}}',
      '{"constructor": {"prototype": {"model": "m"}}}',
      '{"model": "m", "__proto__": {"force": true}, "toString": 1}',
      '[{"model": "m"}]',
      '"m"',
      '{"\\u006dodel": "\\u006d"}',
      '{"model": "\\ud800"}',
      '{"model": "m\\u0000"}',
      "{'model': 'm'}",
      '{"model": "m",}',
      '{"model": "a\nb"}',
      '{"model": 1e999}',
      '\ufeff{"model": "m"}',
      "model=m",
      `{"model": ${deep(2000)}}`,
      `{"x": ${deep(7000)}, "model": "m"}`,
      "[".repeat(16_000),
      '{"a":'.repeat(3000),
    ),
  ],
);

const plainBody = weighted<string | Uint8Array>(
  [14, bodyText],
  // Around the limit.
  [
    2,
    fc.tuple(bodyText, fc.integer({ min: -2, max: 2 })).map(([text, by]) => text.padEnd(MAX_BODY_BYTES + by)),
  ],
  [1, fc.tuple(bodyText, fc.nat()).map(([text, at]) => text.slice(0, at % (text.length + 1)))],
  [
    1,
    fc.tuple(bodyText, fc.nat(), fc.nat({ max: 255 })).map(([text, at, byte]) => {
      const bytes = Buffer.from(text);
      if (bytes.length > 0) bytes[at % bytes.length] = byte;
      return bytes;
    }),
  ],
  [1, fc.uint8Array()],
);

const CODINGS = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync, GZip: gzipSync } as const;

/** How a body is coded, and how its coding is spoiled. */
const coding = weighted<{ header: Coding; encode: (bytes: Uint8Array) => Uint8Array } | undefined>(
  [24, fc.constant(undefined)],
  [
    3,
    fc.constantFrom(...Object.entries(CODINGS)).map(([value, encode]) => ({
      header: { value, is: "fine" } as const,
      encode,
    })),
  ],
  [
    1,
    fc
      .tuple(fc.constantFrom("gzip", "deflate", "br"), fc.integer({ min: 1, max: 40 }))
      .map(([value, cut]) => ({
        header: { value, is: "broken" } as const,
        // Cut off before its end; too short to be cut, it is no coding at all.
        encode: (bytes: Uint8Array) => {
          const whole = CODINGS[value as keyof typeof CODINGS](bytes);
          return whole.length > 2 * cut
            ? whole.subarray(0, whole.length - cut)
            : Buffer.from("no such coding");
        },
      })),
  ],
  [
    1,
    fc
      .constantFrom<Coding[]>(
        { value: "identity", is: "fine" },
        { value: "IDENTITY", is: "fine" },
        { value: "", is: "fine" },
        { value: "compress", is: "unsupported" },
        { value: "gzip, gzip", is: "unsupported" },
        { value: "x-gzip", is: "unsupported" },
        { value: "__proto__", is: "unsupported" },
        { value: "<b>\u00e4&", is: "unsupported" },
        { value: "zstd", is: "unclear" },
        { value: "br", is: "unclear" },
      )
      .map((header) => ({ header, encode: (bytes: Uint8Array) => bytes })),
  ],
);

const framing = weighted<Body["framing"]>(
  [30, fc.constant("length")],
  [5, fc.constant("chunked")],
  [1, fc.constantFrom("short", "long", "bad chunks")],
);

const body = fc
  .record({
    type: weighted<ContentType | undefined>([20, type], [1, fc.constant(undefined)]),
    coding,
    plainBody,
    framing,
  })
  .map(({ type, coding, plainBody, framing }): Body => {
    const plain = typeof plainBody === "string" ? encodeText(plainBody, type) : plainBody;
    return { type, coding: coding?.header, plain, bytes: coding?.encode(plain) ?? plain, framing };
  });

function encodeText(text: string, type: ContentType | undefined): Uint8Array {
  const isUtf16 = type?.charset === "utf-16le" || type?.charset === "utf-16be";
  const bytes = Buffer.from(text, isUtf16 ? "utf16le" : "utf8");
  return type?.charset === "utf-16be" ? bytes.swap16() : bytes;
}

const authorization = weighted<Authorization | undefined>(
  [8, fc.constantFrom(`Bearer ${TOKEN}`, `bearer  ${TOKEN} `).map((value) => ({ value, passes: true }))],
  [1, fc.constant(undefined)],
  [
    1,
    fc
      .oneof(
        fc.constantFrom(
          TOKEN,
          "Bearer",
          "Bearer ",
          `Bearer ${TOKEN} x`,
          `Bearer ${TOKEN.toUpperCase()}`,
          `Basic ${TOKEN}`,
          `Bearer ${TOKEN},${TOKEN}`,
          `Bearer ${TOKEN}\u00e4`,
        ),
        headerText,
      )
      .map((value) => ({ value, passes: false })),
  ],
);

export const requests: Arbitrary<FuzzRequest> = fc
  .record({
    host: weighted<FuzzRequest["host"]>(
      [8, fc.constant("bare")],
      [1, fc.constant("parses all itself")],
      [1, fc.constant("guarded")],
    ),
    target,
    query,
    headers: weighted<[string, string][]>([2, fc.constant([])], [1, fc.array(header, { maxLength: 3 })]),
    authorization,
    body: weighted<Body | undefined>([1, fc.constant(undefined)], [3, body]),
    odd: weighted<string | undefined>([24, fc.constant(undefined)], [1, odd]),
  })
  .map(({ target, ...request }) => ({ ...request, ...target }));

/** The bytes of a request. */
export function render({
  host,
  method,
  path,
  query,
  headers,
  authorization,
  body,
  odd,
}: FuzzRequest): Buffer {
  const lines = [`${method} ${path}${query} HTTP/1.1`, "Host: localhost"];
  for (const [name, value] of headers) lines.push(`${name}: ${value}`);
  if (host === "guarded" && authorization) lines.push(`Authorization: ${authorization.value}`);
  if (body?.type) lines.push(`Content-Type: ${body.type.value}`);
  if (body?.coding) lines.push(`Content-Encoding: ${body.coding.value}`);
  if (body) lines.push(framingHeader(body));
  if (odd !== undefined) lines.push(odd);
  return Buffer.concat([
    Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"),
    body ? frame(body) : Buffer.of(),
  ]);
}

/** What of a body's bytes the server takes for it. */
export function declaredBytes({ framing, bytes }: Body): Uint8Array {
  return framing === "short" ? bytes.subarray(0, bytes.length >> 1) : bytes;
}

function framingHeader(body: Body): string {
  if (body.framing === "chunked" || body.framing === "bad chunks") return "Transfer-Encoding: chunked";
  return `Content-Length: ${declaredBytes(body).length + (body.framing === "long" ? 3 : 0)}`;
}

function frame({ framing, bytes }: Body): Buffer {
  if (framing === "bad chunks")
    return Buffer.concat([Buffer.from("3;x\r\n"), bytes, Buffer.from("\r\nzz\r\n\r\n")]);
  if (framing !== "chunked") return Buffer.from(bytes);
  const middle = Math.ceil(bytes.length / 3);
  const parts = [bytes.subarray(0, middle), bytes.subarray(middle)].filter((part) => part.length > 0);
  return Buffer.concat([
    ...parts.flatMap((part) => [Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n")]),
    Buffer.from("0\r\n\r\n"),
  ]);
}
