import { connect } from "node:net";

/** Far more than any of these requests takes, so that only what hangs is late. */
const ANSWER_WITHIN_MS = 5_000;

export interface Answer {
  status: number;
  /** Values by name in lower case, in the order in which they came. */
  headers: Record<string, string[]>;
  body: string;
  bodyBytes: number;
  /** What came after the answer. */
  rest: string;
}

/**
 * Sends these bytes on a connection of their own, and resolves with the first answer; with nothing where the server closed
 * without one. Node's own client would not send half of what is sent here.
 */
export function exchange(
  port: number,
  request: Buffer,
  { isHead = false, hangsUp = false } = {},
): Promise<Answer | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let received = Buffer.alloc(0);
    const end = (settle: () => void) => {
      clearTimeout(late);
      socket.resetAndDestroy();
      settle();
    };
    const late = setTimeout(() => {
      const soFar = JSON.stringify(received.toString("latin1"));
      end(() => reject(new Error(`there was no answer within ${ANSWER_WITHIN_MS} ms, only ${soFar}`)));
    }, ANSWER_WITHIN_MS);
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      const answer = readAnswer(received, isHead, false);
      if (answer) end(() => resolve(answer));
    });
    // It is followed by "close".
    socket.on("error", () => {});
    socket.on("close", () => end(() => resolve(readAnswer(received, isHead, true))));
    if (hangsUp) socket.end(request);
    else socket.write(request);
  });
}

function readAnswer(received: Buffer, isHead: boolean, isClosed: boolean): Answer | undefined {
  const headEnd = received.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const [statusLine = "", ...lines] = received.toString("latin1", 0, headEnd).split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]);
  const after = received.subarray(headEnd + 4);
  if (status < 200) return readAnswer(after, isHead, isClosed);

  const headers: Answer["headers"] = {};
  for (const line of lines) {
    const [name = "", value] = line.split(/: (.*)/s);
    headers[name.toLowerCase()] = [...(headers[name.toLowerCase()] ?? []), value ?? ""];
  }
  const length = isHead ? 0 : bodyLength(headers, after, isClosed);
  if (length === undefined || after.length < length) return undefined;
  const body = after.toString("utf8", 0, length);
  return { status, headers, body, bodyBytes: length, rest: after.toString("latin1", length) };
}

function bodyLength(headers: Answer["headers"], after: Buffer, isClosed: boolean): number | undefined {
  const [given] = headers["content-length"] ?? [];
  if (given !== undefined) return Number(given);
  if (headers["transfer-encoding"]) {
    const end = after.indexOf("0\r\n\r\n");
    return end < 0 ? undefined : end + 5;
  }
  return isClosed ? after.length : undefined;
}
