import { availableParallelism, totalmem } from "node:os";
import type { BackendClientFactory } from "express-backend-monitor";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { hasBrowser, inBrowser } from "../support/browser.js";
import { frozenProcess } from "../support/faults.js";
import { send } from "../support/http.js";
import { addModel, memory, PAGE_TEST, rowOf, startHost, usePage } from "../support/page.js";
import { isLinux, kernelBytes } from "../support/processes.js";
import { clientWith } from "../support/supervisor.js";

if (!hasBrowser) console.warn(`the page of the dashboard was not tried${inBrowser}`);

const MIB = 1024 ** 2;
const openPage = usePage();

/** A figure of the page, in MiB. */
const mib = (text: string) => Number(/([\d.]+) MiB/.exec(text)?.[1]);

describe.skipIf(!hasBrowser || !isLinux)(`the page of the dashboard${inBrowser}`, PAGE_TEST, () => {
  it("shows what each model costs, by its backend, by the operating system, or why it can't", async () => {
    const host = await startHost();
    await addModel(host, "chat", {
      state: 1,
      memory: memory({ weights: 300 * MIB, kv_cache: 100 * MIB }),
    });
    const plain = await addModel(host, "plain");
    host.registry.register({ name: "broken", address: "127.0.0.1:1" });
    const page = await openPage(host.url);

    const row = rowOf(page, "chat");
    await expect.poll(() => row.innerText()).toContain("400 MiB");
    expect(await row.innerText()).toMatch(/busy/);
    expect(await row.locator("use").nth(1).getAttribute("href")).toBe("#icon-busy");
    expect(await row.getByRole("img").getAttribute("aria-label")).toBe(
      "\u2068weights\u2069 300 MiB (75 %), \u2068kv_cache\u2069 100 MiB (25 %)",
    );
    expect(await row.locator(".processes").innerText()).toBe("1");

    // This registry keeps no logs.
    expect(await page.getByRole("button", { name: "Log of chat" }).count()).toBe(0);

    const other = rowOf(page, "plain");
    expect(await other.innerText()).toMatch(/ready/);
    expect(await other.innerText()).toContain("by the operating system: UNIMPLEMENTED");
    const rss = kernelBytes(plain.pid, "VmRSS") / MIB;
    expect(Math.abs(mib(await other.locator(".memory").innerText()) - rss)).toBeLessThan(0.05 * rss);

    const failing = await rowOf(page, "broken").innerText();
    expect(failing).toMatch(/failing/);
    expect(failing).toContain("UNAVAILABLE");

    const [models = "", sum = "", cpu = ""] = await page.locator(".sum").allInnerTexts();
    expect(models).toMatch(/^Models\s+3\s+1 busy, 1 ready, 1 failing$/);
    expect(Math.abs(mib(sum) - 400 - rss)).toBeLessThan(1);
    expect(sum).toContain(`of ${(totalmem() / 1024 ** 3).toPrecision(3)} GiB`);
    expect(cpu).toContain(`of ${availableParallelism()} core`);
  });

  it("changes without being loaded again, and says what comes and goes", async () => {
    const host = await startHost();
    const chat = await addModel(host, "chat", { state: 2, memory: memory({ weights: 100 * MIB }) });
    const page = await openPage(host.url);
    await expect.poll(() => rowOf(page, "chat").innerText()).toContain("100 MiB");
    const row = await rowOf(page, "chat").elementHandle();
    chat.said = { state: 1, memory: memory({ weights: 100 * MIB, kv_cache: 28 * MIB }) };
    await expect.poll(() => row?.innerText()).toMatch(/busy\s+128 MiB/);
    await addModel(host, "another", { state: 0 });
    await expect.poll(() => rowOf(page, "another").count()).toBe(1);
    expect(await page.locator("tbody tr.row").first().innerText()).toContain("uninitialized");
    host.registry.unregister("another");
    await expect.poll(() => rowOf(page, "another").count()).toBe(0);
  });

  it("has no model to show, then one, whose last minutes it shows by itself", async () => {
    const host = await startHost();
    const page = await openPage(host.url);
    await page.getByText("No model is loaded.").waitFor();
    expect(await page.locator("table, .tools").filter({ visible: true }).count()).toBe(0);
    await addModel(host, "chat", { state: 2, memory: memory({ weights: MIB }) });
    await expect.poll(() => rowOf(page, "chat").count()).toBe(1);
    expect(await page.getByText("No model is loaded.").isVisible()).toBe(false);

    await page.reload();
    await page.getByRole("img", { name: "Memory of chat over the last 15 minutes" }).waitFor();
    await page.getByRole("img", { name: "CPU of chat over the last 15 minutes" }).waitFor();
    await page.getByRole("button", { name: "chat", exact: true, expanded: true }).click();
    await page.getByRole("button", { name: "chat", exact: true, expanded: false }).waitFor();
    expect(await page.locator(".panel").count()).toBe(0);
    // It is as the reader left it.
    await page.reload();
    await page.getByRole("button", { name: "chat", exact: true, expanded: false }).waitFor();
  });

  it("draws what was before it was loaded, from what the server remembers", async () => {
    const host = await startHost();
    const chat = await addModel(host, "chat", { state: 2, memory: memory({ weights: 100 * MIB }) });
    await addModel(host, "plain");
    const page = await openPage(host.url);
    await page.getByRole("button", { name: "chat", exact: true }).click();
    const remembered = async () => (await send(`${host.url}api/history?model=chat`)).json.memory;
    await expect.poll(remembered).toContain(100 * MIB);
    chat.said = { state: 2, memory: memory({ weights: 300 * MIB }) };
    await expect.poll(remembered).toContain(300 * MIB);
    chat.said = { state: 2, memory: memory({ weights: 200 * MIB }) };
    const summary = page.locator('[data-part="memory-summary"]');
    const all = /^Now 200 MiB; least 100 MiB and most 300 MiB in the last \d+ s\.$/;
    await expect.poll(() => summary.innerText()).toMatch(all);

    await page.reload();
    await page.getByRole("button", { name: "chat", exact: true, expanded: true }).waitFor();
    await expect.poll(() => summary.innerText()).toMatch(all);
    const drawn = await painted(page);
    expect(drawn).toHaveLength(2);
    for (const pixels of drawn) expect(pixels).toBeGreaterThan(500);
    await page.setViewportSize({ width: 700, height: 800 });
    await expect.poll(() => fits(page)).toBe(true);
  });

  it("leaves the rows where they are, however their figures change, until it is told to order them", async () => {
    const host = await startHost();
    const small = await addModel(host, "a", { state: 2, memory: memory({ weights: MIB }) });
    await addModel(host, "b", { state: 2, memory: memory({ weights: 2 * MIB }) });
    const page = await openPage(host.url);
    const names = () => page.locator("tbody tr.row bdi[data-part=name]").allInnerTexts();
    await expect.poll(names).toEqual(["a", "b"]);
    const byMemory = page.getByRole("columnheader", { name: "Memory" });
    await byMemory.getByRole("button").click();
    expect(await names()).toEqual(["b", "a"]);
    expect(await byMemory.getAttribute("aria-sort")).toBe("descending");
    small.said = { state: 2, memory: memory({ weights: 3 * MIB }) };
    await expect.poll(() => rowOf(page, "a").innerText()).toContain("3.00 MiB");
    expect(await names()).toEqual(["b", "a"]);
    await byMemory.getByRole("button").click();
    await byMemory.getByRole("button").click();
    expect(await names()).toEqual(["a", "b"]);
  });

  it("shows 200 models, touches nothing of those that did not change, and finds one of them", async () => {
    let size = 1;
    // A client of the host's own: 200 connections would keep this machine busy.
    const createClient: BackendClientFactory = (model) => {
      const total = () => BigInt(model.name === "changing" ? size * MIB : 300);
      const status = async () => ({ state: 2, memory: { total: total(), breakdown: {} } });
      return clientWith({ status })(model);
    };
    const host = await startHost({ sampleIntervalMs: 250, createClient });
    const pid = await frozenProcess();
    for (let index = 0; index < 199; index++) {
      host.registry.register({ name: `model-${index}`, address: `127.0.0.1:${index + 1}`, pid });
    }
    host.registry.register({ name: "changing", address: "127.0.0.1:1", pid });
    const page = await openPage(host.url);
    await expect.poll(() => page.locator("tbody tr.row").count()).toBe(200);
    // What the others cost stays as it is, once it has been measured twice.
    const idle = () =>
      page.evaluate(
        '[...document.querySelectorAll("tr.row .cpu .value")].filter((cpu) => cpu.textContent === "0 %").length',
      );
    await expect.poll(idle).toBe(200);
    // By its role, it would be looked for among all that there is.
    const changing = page.locator("tr.row", { hasText: "changing" });
    await page.evaluate(`
      window.touched = [];
      new MutationObserver((changes) => {
        for (const { target } of changes) {
          const part = target.closest("[data-part]").dataset.part;
          if (part !== "uptime") touched.push(target.closest("tr").querySelector("bdi[data-part=name]").textContent + " " + part);
        }
      }).observe(document.querySelector("tbody"), { subtree: true, childList: true, attributes: true });
    `);
    for (size = 2; size <= 3; size++) {
      await expect.poll(() => changing.innerText()).toContain(`${size}.00 MiB`);
    }
    const touched = new Set(await page.evaluate<string[]>("touched"));
    expect([...touched].sort()).toEqual(["changing memory"]);

    await page.locator("[data-part=filter]").fill("MODEL-17");
    await expect.poll(() => page.locator("tr.row:not([hidden])").count()).toBe(11);
    expect(await page.locator("[data-part=shown]").innerText()).toBe("11 of 200 shown");
    await page.locator("[data-part=select-all]").check();
    await expect.poll(() => page.locator("[data-part=stop-selected]").innerText()).toBe("Stop selected (11)");
  });
});

/** How many pixels of each canvas have something on them. */
function painted(page: Page): Promise<number[]> {
  return page.evaluate(`[...document.querySelectorAll(".chart canvas")].map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, index) => index % 4 === 3 && value > 0).length;
  })`);
}

function fits(page: Page): Promise<boolean> {
  return page.evaluate("document.documentElement.scrollWidth <= innerWidth");
}
