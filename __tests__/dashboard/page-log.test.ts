import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { hasBrowser, inBrowser } from "../support/browser.js";
import { addModel, type HostOptions, NETWORK, PAGE_TEST, startHost, usePage } from "../support/page.js";
import { isLinux } from "../support/processes.js";

const openPage = usePage();

/** What a test writes, for who follows it. */
function written() {
  let text = "";
  let wake = () => {};
  const write = (more: string) => {
    text += more;
    wake();
  };
  const followLogs: HostOptions["followLogs"] = async function* (_name, signal) {
    signal.addEventListener("abort", () => wake());
    for (let from = 0; !signal.aborted; ) {
      if (from < text.length) {
        yield text.slice(from);
        from = text.length;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  };
  return { write, followLogs };
}

const log = (page: Page) => page.getByRole("log");
const isAtEnd = (page: Page) =>
  log(page).evaluate(
    ({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight < 24,
  );

describe.skipIf(!hasBrowser || !isLinux)(
  `on the page of the dashboard, the log${inBrowser}`,
  PAGE_TEST,
  () => {
    it("is followed, unless the reader has scrolled away, and is plain text", async () => {
      const { write, followLogs } = written();
      const host = await startHost({ followLogs });
      await addModel(host, "chat", { state: 2 });
      write("\u001b[32mgreen\u001b[0m and \u001b]0;title\u0007plain\r\n");
      for (let line = 1; line <= 300; line++) write(`line ${line}\n`);
      const page = await openPage(host.url);
      await page.getByRole("button", { name: "Log of chat" }).click();
      await page.getByRole("dialog", { name: "Log of chat" }).waitFor();
      await expect.poll(() => log(page).innerText()).toMatch(/^green and plain\nline 1\n/);
      await expect.poll(() => isAtEnd(page)).toBe(true);
      write("after that\n");
      await expect.poll(() => log(page).innerText()).toMatch(/after that\n$/);
      expect(await isAtEnd(page)).toBe(true);

      await log(page).focus();
      await page.keyboard.press("Home");
      await page.getByRole("button", { name: "To the end" }).waitFor();
      write("unseen\n");
      await expect.poll(() => log(page).textContent()).toContain("unseen");
      expect(await log(page).evaluate((element) => element.scrollTop)).toBe(0);
      await page.getByRole("button", { name: "To the end" }).click();
      expect(await isAtEnd(page)).toBe(true);
      await page.getByRole("button", { name: "To the end" }).waitFor({ state: "hidden" });

      await page.keyboard.press("Escape");
      expect(await page.evaluate("document.activeElement.textContent")).toBe("Log of chat");
    });

    it("of a program that prints without an end is its last lines", async () => {
      const { write, followLogs } = written();
      const host = await startHost({ followLogs });
      await addModel(host, "chat", { state: 2 });
      const page = await openPage(host.url);
      await page.getByRole("button", { name: "Log of chat" }).click();
      for (let line = 1; line <= 12_000; line++) write(`line ${line} ${"x".repeat(40)}\n`);
      await expect.poll(() => log(page).textContent()).toContain("line 12000 ");
      const kept = (await log(page).textContent()) ?? "";
      expect(kept.split("\n").length).toBeLessThanOrEqual(5_001);
      expect(kept.split("\n").length).toBeGreaterThan(4_800);
      // A line without an end is no way out.
      write("y".repeat(3 * 1024 ** 2));
      write("the end");
      await expect.poll(() => log(page).textContent()).toMatch(/the end$/);
      const length = ((await log(page).textContent()) ?? "").length;
      expect(length).toBeLessThanOrEqual(512 * 1024);
      expect(length).toBeGreaterThan(400 * 1024);
      expect(await log(page).locator("*").count()).toBeLessThan(200);
    });

    it("says when it ends, and why it can't be read", async () => {
      let fail: (() => void) | undefined;
      const host = await startHost({
        followLogs: async function* () {
          yield "the only line\n";
          if (!fail) return;
          await new Promise<void>((resolve) => {
            fail = resolve;
          });
          throw new Error("gone");
        },
      });
      await addModel(host, "chat", { state: 2 });
      const page = await openPage(host.url, { allowed: NETWORK });
      await page.getByRole("button", { name: "Log of chat" }).click();
      await page.getByText("The log ends here.").waitFor();
      expect(await log(page).textContent()).toBe("the only line\n");
      fail = () => {};
      await page.getByRole("button", { name: "Follow again" }).click();
      await page.getByText("following").waitFor();
      await expect.poll(() => log(page).textContent()).toBe("the only line\n");
      fail();
      await page.getByText("The log can't be read: the server can't be reached.").waitFor();
    });
  },
);
