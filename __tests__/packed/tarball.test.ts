import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { describe, expect, inject, it } from "vitest";
import { complaints } from "./complaints.js";

const root = new URL("../../", import.meta.url);
const manifest = JSON.parse(await readFile(new URL("package.json", root), "utf8"));
const { file, files, size, unpackedSize } = inject("tarball");
const paths = files.map(({ path }) => path).sort();

/** What is not built from lib/. */
const besides = [
  "package.json",
  "README.md",
  "LICENSE",
  "protos/backend.proto",
  "CHANGELOG.md",
  "SECURITY.md",
  "openapi.yaml",
  "examples/grafana-dashboard.json",
];

const page = "dist/dashboard/page/";

/** About a third more than there is: who gets there is to ask whether users need it. */
const MAX_BYTES = 225_000;
const MAX_UNPACKED_BYTES = 750_000;

describe("the tarball", () => {
  it("has what is built from lib/ and what users read, and nothing else", async () => {
    const sources = await readdir(new URL("lib", root), { recursive: true });
    const files = sources.map((source) => `dist/${source.replaceAll("\\", "/")}`);
    const built = files
      .filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))
      .map((file) => file.slice(0, -".ts".length))
      // Nobody imports what the page is made of.
      .flatMap((module) => (module.startsWith(page) ? [`${module}.js`] : [`${module}.js`, `${module}.d.ts`]));
    const copied = files.filter((file) => /\.(html|css|svg)$/.test(file));
    const charts = ["uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE.txt"].map((file) => page + file);
    expect(paths).toEqual([...besides, ...built, ...copied, ...charts].sort());
  });

  it("is small", () => {
    expect(size).toBeLessThan(MAX_BYTES);
    expect(unpackedSize).toBeLessThan(MAX_UNPACKED_BYTES);
  });

  it("pleases publint", async () => {
    const tarball = await readFile(file);
    const { messages, pkg } = await publint({
      pack: { tarball: new Uint8Array(tarball).buffer },
      strict: true,
    });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  it("has types that are right for each way to import it", { timeout: 60_000 }, async () => {
    const attw = fileURLToPath(
      new URL("dist/index.js", import.meta.resolve("@arethetypeswrong/cli/package.json")),
    );
    const code = Object.keys(manifest.exports).filter((entry) => manifest.exports[entry].types);
    expect(
      await complaints(attw, [file, "--profile", "esm-only", "--no-color", "--entrypoints", ...code]),
    ).toBe("");
  });
});
