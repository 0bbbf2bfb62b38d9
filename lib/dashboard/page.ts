import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { Request, Response } from "express";

/** Where the build puts the page. */
const FOLDER = new URL("./page/", import.meta.url);

const INDEX = "index.html";

/** Its code and its looks come from here alone, whatever a model's name or a log has in it. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
].join("; ");

const HEADERS = {
  "Content-Security-Policy": CONTENT_SECURITY_POLICY,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-cache",
};

interface File {
  readonly body: Buffer;
  readonly etag: string;
}

/**
 * The files of the page, read once: they are few and small. What is served is what was there then, by its exact name, and
 * nothing that a path could lead to.
 */
export class Page {
  readonly #files: ReadonlyMap<string, File>;

  constructor() {
    const names = readdirSync(FOLDER, { withFileTypes: true })
      .filter((entry) => entry.isFile() && /^\w[\w.-]*$/.test(entry.name))
      .map(({ name }) => name);
    this.#files = new Map(names.map((name) => [name, read(name)]));
  }

  /** The paths of the files, from where the page is mounted. */
  get paths(): string[] {
    return Array.from(this.#files.keys(), (name) => `/${name}`);
  }

  sendFile(req: Request, res: Response): void {
    this.#send(res, req.path.slice(1));
  }

  /** Its files are beside it only where its own address ends with a slash. */
  sendIndex(req: Request, res: Response): void {
    const [path = "", ...query] = req.originalUrl.split("?");
    if (path.endsWith("/")) {
      this.#send(res, INDEX);
      return;
    }
    // Relative: in front of a proxy, the path may have more at its beginning than is known here.
    const location = `./${path.split("/").at(-1)}/${["", ...query].join("?")}`;
    res.writeHead(302, { ...HEADERS, Location: location });
    res.end();
  }

  #send(res: Response, name: string): void {
    const file = this.#files.get(name);
    if (!file) throw new Error(`the page has no ${name}`);
    res.set({ ...HEADERS, ETag: file.etag });
    res.type(name);
    // It answers 304 to who has it already, and sends no body with HEAD.
    res.send(file.body);
  }
}

/** By what is in it: files that come from npm all have the same date. */
function read(name: string): File {
  const body = readFileSync(new URL(name, FOLDER));
  return { body, etag: `W/"${createHash("sha256").update(body).digest("base64url")}"` };
}
