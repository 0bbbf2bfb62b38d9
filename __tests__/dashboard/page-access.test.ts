import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { hasBrowser, inBrowser } from "../support/browser.js";
import { addModel, memory, NETWORK, PAGE_TEST, rowOf, startHost, usePage } from "../support/page.js";
import { isLinux } from "../support/processes.js";

const MIB = 1024 ** 2;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const openPage = usePage();

/** What is seriously wrong, by axe-core. */
async function findings(page: Page, within: string): Promise<string[]> {
  return page.evaluate(`(async () => {
    if (!window.axe) { ${AXE} }
    const { violations } = await axe.run(${JSON.stringify(within)}, { resultTypes: ["violations"] });
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => [id, target, failureSummary].join(" ")));
  })()`);
}

const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 360, height: 740 };
const LOOKS = [
  ["light", WIDE],
  ["dark", NARROW],
  ["dark", WIDE],
  ["light", NARROW],
] as const;

async function expectAccessible(page: Page, looks: readonly (typeof LOOKS)[number][], within = "body") {
  for (const [colorScheme, viewport] of looks) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(viewport);
    const found = await findings(page, within);
    expect({ colorScheme, viewport, found }).toEqual({ colorScheme, viewport, found: [] });
    expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).toBeLessThanOrEqual(0);
  }
}

describe.skipIf(!hasBrowser || !isLinux)(
  `the page of the dashboard, for everybody${inBrowser}`,
  PAGE_TEST,
  () => {
    it("is accessible in light and dark, wide and narrow", async () => {
      const host = await startHost({ drainTimeoutMs: 100 });
      await addModel(host, "chat", { state: 2, memory: memory({ weights: 300 * MIB, kv_cache: 100 * MIB }) });
      await addModel(host, "busy", { state: 1, memory: memory({ weights: 300 * MIB }) });
      await addModel(host, "empty", { state: 0, memory: memory({ weights: MIB }) });
      await addModel(host, "plain");
      await addModel(host, "odd", { state: -1, memory: memory({ weights: MIB }) });
      host.registry.register({ name: "broken", address: "127.0.0.1:1" });
      const page = await openPage(host.url);
      await page.getByRole("button", { name: "chat", exact: true }).click();
      await page.getByText(/^Now 400 MiB/).waitFor();
      await page.getByRole("button", { name: "Stop busy" }).click();
      await page.getByRole("button", { name: "Stop it" }).click();
      await page.getByRole("button", { name: "Try again" }).waitFor();
      await expectAccessible(page, LOOKS);
      // It is a table, also where it looks like cards.
      expect(await page.getByRole("table").getByRole("row").count()).toBe(8);
      expect(await rowOf(page, "chat").getByRole("rowheader").count()).toBe(1);
      const name = "Loaded models, and what each of them costs";
      expect(await page.getByRole("table", { name }).count()).toBe(1);
      await page.getByRole("button", { name: "Stop all" }).click();
      await expectAccessible(page, LOOKS.slice(0, 2), "dialog[open]");
    });

    it("is so with a log, and where the connection is lost", async () => {
      const host = await startHost({
        followLogs: async function* (_name, signal) {
          yield "a line\n".repeat(200);
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
        },
      });
      await addModel(host, "chat", { state: 2, memory: memory({ weights: 300 * MIB }) });
      await addModel(host, "plain");
      const page = await openPage(host.url, { allowed: NETWORK });
      await page.getByRole("button", { name: "Log of chat" }).click();
      await page.getByText("following").waitFor();
      await expectAccessible(page, LOOKS.slice(0, 2), "dialog[open]");
      await page.keyboard.press("Escape");
      await host.stop();
      await page.getByText("The connection is lost.").first().waitFor();
      await expectAccessible(page, LOOKS.slice(0, 2));
    });
  },
);
