import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { hasBrowser, inBrowser } from "../support/browser.js";
import { addModel, addProcesses, memory, PAGE_TEST, rowOf, startHost, usePage } from "../support/page.js";
import { end, isLinux, isRunning } from "../support/processes.js";

const MIB = 1024 ** 2;
const openPage = usePage();

const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });

/** All that a screen reader was to say until now. */
async function listen(page: Page): Promise<() => Promise<string>> {
  await page.evaluate(`
    window.announced = [];
    new MutationObserver(() => announced.push(document.querySelector("[data-part=announcement]").textContent))
      .observe(document.querySelector("[data-part=announcement]"), { childList: true });
  `);
  return () => page.evaluate<string>('announced.join("\\n").replace(/[\\u2068\\u2069]/g, "")');
}

describe.skipIf(!hasBrowser || !isLinux)(
  `on the page of the dashboard, a shutdown${inBrowser}`,
  PAGE_TEST,
  () => {
    it("says what will be lost, how far it is, and when the model is gone", async () => {
      const host = await startHost({ terminateTimeoutMs: 60_000 });
      let free = () => {};
      const chat = await addModel(
        host,
        "chat",
        { state: 1, memory: memory({ weights: 100 * MIB }) },
        {
          isDeaf: true,
          Free: (_call, reply) => {
            free = () => reply(null, { success: true });
          },
        },
      );
      const page = await openPage(host.url);
      const announced = await listen(page);
      await button(page, "Stop chat").click();
      const dialog = page.getByRole("dialog", { name: "Stop chat?" });
      expect(await dialog.innerText()).toMatch(/ends \d process(es)? and gives back 100 MiB of memory/);
      expect(await dialog.getByRole("listitem").innerText()).toMatch(
        /chat\s+100 MiB, \d process(es)?\s+busy: its work is waited for/,
      );
      await button(page, "Stop it").click();
      expect(await dialog.isVisible()).toBe(false);

      const stops = page.locator(".stops li");
      await stops.getByText("draining").waitFor();
      await rowOf(page, "chat").getByText("draining").waitFor();
      expect(isRunning(chat.pid)).toBe(true);
      chat.said = { ...chat.said, state: 2 };
      await stops.getByText("freeing").waitFor();
      free();
      await stops.getByText("terminating").waitFor();
      await rowOf(page, "chat").getByText("terminating").waitFor();
      expect(isRunning(chat.pid)).toBe(true);
      await end(chat.pid);
      await stops.getByText(/^stopped/).waitFor();
      await expect.poll(() => rowOf(page, "chat").count()).toBe(0);
      await page.getByText("No model is loaded.").waitFor();
      await expect
        .poll(announced)
        .toMatch(/chat: draining.*chat: freeing.*chat: terminating.*chat: stopped/s);
    });

    it("is of those that are selected, and of no others", async () => {
      const host = await startHost();
      const [a, b, c] = (await addProcesses(host, "a", "b", "c")) as [number, number, number];
      const page = await openPage(host.url);
      // Nothing is selected: it says so, and asks nothing.
      await button(page, "Stop selected").press("Enter");
      expect(await page.getByRole("dialog").count()).toBe(0);
      await page.getByRole("checkbox", { name: "Select a", exact: true }).check();
      await page.getByRole("checkbox", { name: "Select c" }).check();
      expect(await page.evaluate('document.querySelector("[data-part=select-all]").indeterminate')).toBe(
        true,
      );
      await button(page, "Stop selected (2)").click();
      const dialog = page.getByRole("dialog", { name: "Stop 2 models?" });
      expect(await dialog.getByRole("listitem").allInnerTexts()).toEqual([
        expect.stringMatching(/^a\s/),
        expect.stringMatching(/^c\s/),
      ]);
      await button(page, "Stop 2 models").click();
      await page.locator(".stops h2").getByText("2 of 2 models stopped").waitFor();
      await expect.poll(() => page.locator("tbody tr.row").count()).toBe(1);
      await expect.poll(() => [a, b, c].map(isRunning)).toEqual([false, true, false]);
      expect(await rowOf(page, "b").count()).toBe(1);
    });

    it("is of all", async () => {
      const host = await startHost();
      const pids = await addProcesses(host, "a", "b", "c", "d");
      const page = await openPage(host.url);
      await button(page, "Stop all").click();
      await button(page, "Cancel").click();
      expect(pids.map(isRunning)).toEqual([true, true, true, true]);
      await button(page, "Stop all").click();
      await button(page, "Stop 4 models").click();
      await page.locator(".stops h2").getByText("4 of 4 models stopped").waitFor();
      await page.getByText("No model is loaded.").waitFor();
      await expect.poll(() => pids.map(isRunning)).toEqual([false, false, false, false]);
    });

    it("that fails says why, leaves the model, and can be tried again, at once", async () => {
      const host = await startHost({ drainTimeoutMs: 300 });
      const chat = await addModel(host, "chat", { state: 1 });
      await addProcesses(host, "other");
      const page = await openPage(host.url);
      const announced = await listen(page);
      await button(page, "Stop chat").click();
      await button(page, "Stop it").click();
      await page
        .getByText(/could not be stopped: .*still busy after 300 ms/)
        .first()
        .waitFor();
      await expect.poll(announced).toContain("chat: could not be stopped");
      await expect.poll(() => rowOf(page, "chat").innerText()).toMatch(/busy/);
      expect(isRunning(chat.pid)).toBe(true);

      await button(page, "Try again to stop chat").click();
      await page.getByRole("checkbox", { name: "Stop at once, even when busy" }).check();
      expect(await page.getByRole("dialog").innerText()).toContain("busy: its work will be lost");
      await button(page, "Stop it").click();
      // What had the focus before is gone.
      expect(await page.evaluate("document.activeElement.dataset.part")).toBe("models");
      await page.locator(".stops h2").getByText("1 of 1 model stopped").waitFor();
      await expect.poll(() => rowOf(page, "chat").count()).toBe(0);
      await expect.poll(() => isRunning(chat.pid)).toBe(false);
    });

    it("that somebody else began is seen as well", async () => {
      const host = await startHost({ terminateTimeoutMs: 60_000 });
      const chat = await addModel(host, "chat", { state: 2 }, { isDeaf: true });
      const page = await openPage(host.url);
      await rowOf(page, "chat").waitFor();
      const other = await openPage(host.url);
      await button(other, "Stop chat").click();
      await button(other, "Stop it").click();
      await page.locator(".stops li").getByText("terminating").waitFor();
      // A page that comes later finds it under way.
      await page.reload();
      await page.locator(".stops li").getByText("terminating").waitFor();
      await end(chat.pid);
      await page
        .locator(".stops li")
        .getByText(/^stopped/)
        .waitFor();
      await other
        .locator(".stops li")
        .getByText(/^stopped/)
        .waitFor();
    });

    it("takes nothing but a keyboard, and the focus is never lost", async () => {
      const host = await startHost();
      const [a, b] = (await addProcesses(host, "a", "b")) as [number, number];
      const page = await openPage(host.url);
      await rowOf(page, "b").waitFor();
      const focused = () =>
        page.evaluate<string>(
          "document.activeElement.textContent.trim() || document.activeElement.dataset.part",
        );
      const tabTo = async (wanted: string) => {
        for (let steps = 0; steps < 40 && (await focused()) !== wanted; steps++)
          await page.keyboard.press("Tab");
        expect(await focused()).toBe(wanted);
      };
      await tabTo("a");
      await page.keyboard.press("Enter");
      await page.getByRole("img", { name: "Memory of a over the last 15 minutes" }).waitFor();
      await page.keyboard.press("Space");
      await expect.poll(() => page.locator(".panel").count()).toBe(0);

      await tabTo("Stop a");
      await page.keyboard.press("Enter");
      const dialog = page.getByRole("dialog", { name: "Stop a?" });
      await dialog.waitFor();
      expect(await focused()).toBe("Cancel");
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "hidden" });
      expect(await focused()).toBe("Stop a");
      await page.keyboard.press("Enter");
      await tabTo("Stop it");
      await page.keyboard.press("Enter");
      await expect.poll(() => rowOf(page, "a").count()).toBe(0);
      // The row is gone, and its neighbour has the focus.
      expect(await focused()).toBe("Stop b");
      await expect.poll(() => [a, b].map(isRunning)).toEqual([false, true]);
      await page.keyboard.press("Enter");
      await tabTo("Stop it");
      await page.keyboard.press("Space");
      await page.getByText("No model is loaded.").waitFor();
      expect(await page.evaluate("document.activeElement.dataset.part")).toBe("models");
    });
  },
);
