import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { type ChannelCredentials, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { describe, expect, it, onTestFinished } from "vitest";
import { curl } from "../support/curl.js";
import { loadProtocol } from "../support/grpc.js";
import { send } from "../support/http.js";
import {
  bearersOf,
  isLinux,
  kernelArguments,
  kernelBytes,
  kernelChildren,
  markedEnvironment,
  portOfNobody,
  script,
} from "../support/processes.js";

interface Example {
  file: string;
  /** What the curl lines get that it prints, in turn. */
  answers: unknown[];
  /** How many lines it prints besides. */
  otherLines?: number;
  /** What else there is to see of it while its backend runs. */
  serving?: (started: Started) => Promise<void>;
  /** Nest ends by the signal itself, when it has cleaned up. */
  exit?: [code: number | null, signal: string | null];
}

const examples: Example[] = [
  { file: "minimal.ts", answers: ["200 2", "200 model stopped"], otherLines: 1 },
  {
    file: "auth.ts",
    answers: [
      "200 Hello!",
      "401 invalid_request_error",
      "200 2",
      "401 invalid_request_error",
      "200 model stopped",
    ],
  },
  { file: "own-registry.ts", answers: ["200 2", "200 model stopped", "200 []"], otherLines: 1 },
  {
    file: "supervisor.ts",
    answers: ["200 2", expect.stringMatching(/^200 listening on [\d.:]+$/), "200 model stopped"],
    otherLines: 1,
    serving: comesBackAfterCrash,
  },
  { file: "commonjs.cjs", answers: ["200 2", "200 model stopped"] },
  {
    file: "nestjs.ts",
    answers: ["201 chat", "403 Forbidden", "200 2", "200 model stopped"],
    serving: startsWhenAsked,
    exit: [null, "SIGTERM"],
  },
  { file: "tls.ts", answers: ["200 2", "200 model stopped"], serving: answersNobodyElse },
];

/** What runs: it is compiled, unless it is JavaScript. */
function programOf(file: string): string {
  return file.endsWith(".ts") ? `build/examples/${file.replace(".ts", ".js")}` : `examples/${file}`;
}

type Started = Awaited<ReturnType<typeof start>>;

/** Starts an example as its comment says, on ports of its own; resolves when it has printed all that it prints. */
async function start({ file, answers, otherLines = 0 }: Example) {
  const { mark, env } = markedEnvironment();
  const asked = join(tmpdir(), `asked-${mark}`);
  onTestFinished(() => rmSync(asked, { force: true }));
  const port = await portOfNobody();
  const host = spawn(process.execPath, [programOf(file)], {
    env: {
      ...process.env,
      ...env,
      PORT: `${port}`,
      ADDRESS: `localhost:${await portOfNobody()}`,
      NODE_OPTIONS: `--import ${pathToFileURL(script("asked-to-end.mjs"))}`,
      ASKED_TO_END: asked,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const errors = host.stderr.toArray().then((chunks) => chunks.join(""));
  const output = createInterface({ input: host.stdout });
  const lines: string[] = [];
  output.on("line", (line) => lines.push(line));
  const ended = once(output, "close").then(async () => {
    throw new Error(`${file} ended: ${await errors}`);
  });
  while (lines.length < answers.length + otherLines) await Promise.race([once(output, "line"), ended]);
  ended.catch(() => {});

  return {
    url: `http://127.0.0.1:${port}`,
    lines,
    curls: lines.filter((line) => line.startsWith("curl ")),
    output,
    pid: host.pid as number,
    /** All that there is of it, by the kernel. */
    processes: () => bearersOf(mark),
    /** Its backend's process, by the kernel. */
    backend: () => {
      const [backend = 0, ...others] = kernelChildren(host.pid as number);
      expect(others).toEqual([]);
      return backend;
    },
    async terminate() {
      const exited = once(host, "exit");
      host.kill("SIGTERM");
      const exit = await exited;
      await expect.poll(() => bearersOf(mark)).toEqual([]);
      // Its backend was not just killed.
      expect(readFileSync(asked, "utf8")).toBe("asked to end\n");
      return { exit, errors: await errors };
    },
  };
}

async function startsWhenAsked({ curls, processes }: Started) {
  expect(processes()).toHaveLength(1);
  await curl(curls[0] ?? "");
}

async function comesBackAfterCrash({ url, lines, output, backend }: Started) {
  const first = backend();
  expect(lines[0]).toContain(`kill -9 ${first} #`);
  const told = once(output, "line");
  process.kill(first, "SIGKILL");
  expect(await told).toEqual(["chat ended with SIGKILL"]);
  await expect.poll(async () => (await send(`${url}/backend/monitor?model=chat`)).status).toBe(200);
  expect(backend()).not.toBe(first);
  // The log is of both.
  const { text } = await send(`${url}/log/chat`);
  expect(text.match(/^listening on /gm)).toHaveLength(2);
}

async function answersNobodyElse({ backend }: Started) {
  const address = kernelArguments(backend()).at(-1) ?? "";
  const environment = readFileSync(`/proc/${backend()}/environ`, "utf8").split("\0");
  const certificate = environment.find((line) => line.startsWith("BACKEND_CERT="))?.slice(13) ?? "";
  const Backend = loadProtocol();
  const health = async (channel: ChannelCredentials) => {
    const client = new Backend(address, channel);
    const error = await new Promise<ServiceError | null>((resolve) => client.Health?.({}, resolve));
    client.close();
    return error?.code;
  };
  expect(await health(credentials.createInsecure())).toBe(status.UNAVAILABLE);
  expect(await health(credentials.createSsl(Buffer.from(certificate)))).toBe(status.UNAUTHENTICATED);
}

it("runs every file of examples/ that is there to be copied", () => {
  const files = readdirSync("examples").filter((file) => /\.[cm]?[jt]s$/.test(file));
  // It has a test of its own.
  expect(files.sort()).toEqual([...examples.map(({ file }) => file), "server.ts"].sort());
});

it.each(examples)("$file starts with a comment of three lines, which says how to run it", ({ file }) => {
  const lines = readFileSync(`examples/${file}`, "utf8").split("\n").slice(0, 4);
  expect(lines.map((line) => line.startsWith("// "))).toEqual([true, true, true, false]);
  expect(lines[1]).toMatch(new RegExp(`npm run example ${programOf(file)}$`));
});

describe.skipIf(!isLinux)("an example", () => {
  // Both at a time: most of it is waiting until they have started.
  it.each(examples)(
    "$file answers every curl line that it prints, and leaves nothing behind",
    async (example) => {
      const [stopped, serving] = await Promise.all([start(example), start(example)]);

      const answers: string[] = [];
      for (const line of stopped.curls) {
        const { status, text, json: answer } = await curl(line);
        answers.push(
          `${status} ${answer ? (answer.error?.type ?? answer.message ?? answer.name ?? answer.state) : text.trim()}`,
        );
        if (!answer?.memory) continue;
        const rss = kernelBytes(stopped.backend(), "VmRSS");
        expect(Math.abs(answer.memory.total - rss)).toBeLessThan(0.05 * rss);
      }
      expect(answers).toEqual(example.answers);
      // The backend is gone, and only the host is left.
      expect(stopped.processes()).toEqual([stopped.pid]);
      expect(await stopped.terminate()).toEqual({ exit: example.exit ?? [0, null], errors: "" });

      await example.serving?.(serving);
      expect(serving.processes().sort()).toEqual([serving.pid, serving.backend()].sort());
      expect(await serving.terminate()).toEqual({ exit: example.exit ?? [0, null], errors: "" });
    },
  );

  it("minimal.ts leaves no backend behind where its port is taken", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    onTestFinished(() => void other.close());
    const { mark, env } = markedEnvironment();
    const host = spawn(process.execPath, ["build/examples/minimal.js"], {
      env: {
        ...process.env,
        ...env,
        PORT: `${(other.address() as AddressInfo).port}`,
        ADDRESS: `localhost:${await portOfNobody()}`,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const errors = host.stderr.toArray();
    expect(await once(host, "exit")).toEqual([1, null]);
    expect((await errors).join("")).toContain("EADDRINUSE");
    await expect.poll(() => bearersOf(mark)).toEqual([]);
  });
});
