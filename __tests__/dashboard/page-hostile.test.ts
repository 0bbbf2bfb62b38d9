import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { hasBrowser, inBrowser } from "../support/browser.js";
import { addModel, memory, PAGE_TEST, startHost, usePage } from "../support/page.js";
import { isLinux } from "../support/processes.js";

const MIB = 1024 ** 2;
const MARKUP = "<img src=x onerror=alert(1)>";
const openPage = usePage();

/** What nothing of a name, a log or a breakdown may become. */
const BAD = "img, iframe, script:not([src]), [onerror], b, a, [style*=javascript]";

describe.skipIf(!hasBrowser || !isLinux)(`on the page of the dashboard${inBrowser}`, PAGE_TEST, () => {
  it("markup is text, whatever has it: a name, a part of a breakdown, an error, a log", async () => {
    const host = await startHost({
      followLogs: async function* (_name, signal) {
        yield `${MARKUP}\n<script>alert(2)</script>\n`;
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      },
    });
    await addModel(host, MARKUP, { state: 2, memory: memory({ [MARKUP]: MIB, "<b>bold</b>": MIB }) });
    const broken = '"><script>alert(3)</script>';
    host.registry.register({
      name: broken,
      address: "127.0.0.1:1",
      stop: () => Promise.reject(new Error(MARKUP)),
    });
    const page = await openPage(host.url);
    const clean = async () => expect(await page.locator(BAD).count()).toBe(0);
    await page.getByRole("button", { name: MARKUP, exact: true }).click();
    await page.locator(".legend").getByText("<b>bold</b>").waitFor();
    await page.locator(".legend").getByText(MARKUP).waitFor();
    await clean();
    await page.getByRole("button", { name: `Log of ${MARKUP}` }).click();
    await page.getByText("<script>alert(2)</script>").waitFor();
    expect(await page.getByRole("heading", { name: `Log of ${MARKUP}` }).count()).toBe(1);
    await clean();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: `Stop ${broken}` }).click();
    expect(await page.getByRole("dialog").innerText()).toContain(broken);
    await page.getByRole("button", { name: "Stop it" }).click();
    await page.locator(".stops").getByText("could not be stopped: the stop hook of model").waitFor();
    await page.locator(".stops").getByTitle(broken, { exact: true }).waitFor();
    await clean();
  });

  it("names that mean something to JavaScript, that are long, or that turn the direction, are names", async () => {
    const host = await startHost();
    const names = ["__proto__", "constructor", "a".repeat(512), "\u202eevil\u202c", "مرحبا 7b", "x y/z:1"];
    for (const name of names) {
      await addModel(host, name, { state: 2, memory: memory({ ["__proto__"]: MIB, [name]: MIB }) });
    }
    const page = await openPage(host.url, { viewport: { width: 360, height: 740 } });
    const shown = page.locator("tr.row bdi[data-part=name]");
    await expect.poll(() => shown.count()).toBe(names.length);
    expect((await shown.allTextContents()).sort()).toEqual([...names].sort());
    for (const name of names) await page.locator("[data-part=open]").getByText(name, { exact: true }).click();
    await expect.poll(() => page.locator(".legend li").count()).toBeGreaterThan(2 * names.length - 2);
    expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
    expect(await page.getByTitle("a".repeat(512)).first().getAttribute("title")).toHaveLength(512);
    // Each is isolated: the order of what stands beside it is not its to change.
    expect(await shown.first().evaluate((element) => element.tagName)).toBe("BDI");
  });

  it("there is nothing that its policy forbids, nothing from elsewhere, and no storage is needed", async () => {
    const host = await startHost();
    await addModel(host, "chat", { state: 2, memory: memory({ weights: MIB }) });
    const page = await openPage(host.url, {
      prepare: (page) =>
        page.addInitScript(`
          for (const name of ["localStorage", "sessionStorage", "indexedDB"]) {
            Object.defineProperty(window, name, { get() { throw new DOMException("blocked", "SecurityError"); } });
          }
        `),
    });
    const requests: string[] = [];
    page.on("request", (request) => requests.push(request.url()));
    const answer = await page.reload();
    const policy = (await answer?.headerValue("content-security-policy")) ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    await page.getByRole("img", { name: "Memory of chat over the last 15 minutes" }).waitFor();
    expect(requests.filter((url) => !url.startsWith(host.url))).toEqual([]);
    expect(requests.length).toBeGreaterThan(10);
    const html = readFileSync(new URL("index.html", PAGE), "utf8");
    expect(html).not.toMatch(/ (style|on\w+)=|<style|<script(?![^>]* src=)/);
  });
});

const PAGE = new URL("../../dist/dashboard/page/", import.meta.url);

/** It takes less than half of it, most of which is uPlot. */
const MAX_BYTES = 120_000;

it("the page of the dashboard is small", () => {
  const files = readdirSync(PAGE).filter((name) => /\.(js|css)$/.test(name));
  expect(files).toEqual(expect.arrayContaining(["main.js", "base.css", "uPlot.iife.min.js"]));
  const sizes = files.map((name) => gzipSync(readFileSync(new URL(name, PAGE))).length);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(MAX_BYTES);
  expect(readdirSync(PAGE)).toContain("uPlot.LICENSE.txt");
});
