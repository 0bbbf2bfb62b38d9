import { once } from "node:events";
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type RequestListener,
  type Server,
} from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for, and says what it expects of it
  json: any;
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

export type Send = (path: string, options?: RequestOptions) => Promise<Answer>;

/** Starts the app on a free port until the end of the test. Unlike fetch(), what comes back sends a body with GET. */
export async function serveHttp(app: RequestListener): Promise<Send> {
  const server: Server = createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return (path, options) => send(`http://127.0.0.1:${port}${path}`, options);
}

export async function send(url: string, options: RequestOptions = {}): Promise<Answer> {
  const { method = "GET", headers = {}, body } = options;
  const length: Record<string, string> =
    body === undefined ? {} : { "content-length": `${Buffer.byteLength(body)}` };
  const req = httpRequest(url, { method, headers: { ...length, ...headers }, agent: false });
  req.end(body);
  const [res] = await once(req, "response");
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  return {
    status: res.statusCode,
    headers: res.headers,
    text,
    json: text.startsWith("{") ? JSON.parse(text) : undefined,
  };
}

/** A request with a JSON body. */
export function json(body: unknown, method = "POST"): RequestOptions {
  return { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}
