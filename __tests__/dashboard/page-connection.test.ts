import type { Handler } from "express";
import { describe, expect, it } from "vitest";
import { hasBrowser, inBrowser } from "../support/browser.js";
import { addModel, memory, NETWORK, PAGE_TEST, rowOf, startHost, usePage } from "../support/page.js";
import { isLinux } from "../support/processes.js";

const MIB = 1024 ** 2;
const openPage = usePage();

/** Does what the test has it do with requests for events. */
function gate() {
  const asked: (() => void)[] = [];
  const state = { status: 0, isHeld: false, asked };
  const before: Handler = (req, res, next) => {
    if (req.path !== "/api/events") return next();
    if (state.status) return void res.status(state.status).json({ error: { message: "ask the admin" } });
    if (!state.isHeld) return next();
    asked.push(next);
  };
  return { state, before };
}

describe.skipIf(!hasBrowser || !isLinux)(`the page of the dashboard${inBrowser}`, PAGE_TEST, () => {
  it("says that the connection is lost, and goes on when the server is there again", async () => {
    const host = await startHost();
    const chat = await addModel(host, "chat", { state: 2, memory: memory({ weights: 100 * MIB }) });
    const page = await openPage(host.url, { allowed: NETWORK });
    await expect.poll(() => rowOf(page, "chat").innerText()).toContain("100 MiB");
    const banner = page.locator("[data-part=banner]");
    const isDimmed = () =>
      page.evaluate<boolean>('getComputedStyle(document.querySelector("main")).filter !== "none"');
    expect([await banner.isVisible(), await isDimmed()]).toEqual([false, false]);

    await host.stop();
    await page.getByText("The connection is lost.").first().waitFor();
    await page.getByText(/What is shown was last seen \d s ago\. Trying again/).waitFor();
    expect(await rowOf(page, "chat").innerText()).toContain("100 MiB");
    await expect.poll(isDimmed).toBe(true);
    // What is asked for meanwhile fails, and says so.
    await page.getByRole("button", { name: "Stop chat" }).click();
    await page.getByRole("button", { name: "Stop it" }).click();
    await page.getByText("could not be stopped: the server can't be reached").first().waitFor();
    await page.getByRole("button", { name: "Dismiss what happened to chat" }).press("Enter");
    await page.locator(".stops").waitFor({ state: "hidden" });
    expect(await page.evaluate("document.activeElement.dataset.part")).toBe("models");

    chat.said = { state: 2, memory: memory({ weights: 200 * MIB }) };
    await host.start();
    await expect.poll(() => rowOf(page, "chat").innerText()).toContain("200 MiB");
    await banner.waitFor({ state: "hidden" });
    await expect.poll(isDimmed).toBe(false);
    await page.getByText("live", { exact: true }).waitFor();
  });

  it("says that the reader is not let in, and goes on when they are", async () => {
    const { state, before } = gate();
    const host = await startHost({ before });
    await addModel(host, "chat", { state: 2 });
    state.status = 401;
    const page = await openPage(host.url, { allowed: /status of 40[13]/ });
    await page
      .getByText("Not connected: you are not signed in, or no longer (401): ask the admin.")
      .first()
      .waitFor();
    await page.evaluate(`
      window.told = [];
      const banner = document.querySelector("[data-part=banner-what]");
      new MutationObserver(() => told.push(banner.textContent)).observe(banner, { childList: true });
    `);
    state.status = 403;
    await page.getByText("Not connected: you may not do that here (403): ask the admin.").first().waitFor();
    // With each try it is lost again, but there is nothing new to tell.
    expect(await page.evaluate("told")).toEqual([expect.stringContaining("(403)")]);
    state.status = 0;
    await rowOf(page, "chat").waitFor();
    await page.locator("[data-part=banner]").waitFor({ state: "hidden" });
  });

  it("does not take a server that says nothing any more for one where nothing changes", async () => {
    const { state, before } = gate();
    // After the first sample, the next one is a minute away: two of them may be missed.
    const host = await startHost({ sampleIntervalMs: 60_000, before });
    await addModel(host, "chat", { state: 2 });
    const page = await openPage(host.url, { prepare: (page) => page.clock.install() });
    await rowOf(page, "chat").waitFor();
    state.isHeld = true;
    await page.clock.runFor(175_000);
    expect(state.asked).toHaveLength(0);
    await page.clock.runFor(10_000);
    await page.getByText("The connection is lost.").first().waitFor();
    await expect.poll(() => state.asked.length).toBeGreaterThan(0);
    // That the machine is online again, or the page is looked at, is reason enough for another try.
    for (const sign of [
      "window.dispatchEvent(new Event('online'))",
      "document.dispatchEvent(new Event('visibilitychange'))",
    ]) {
      const asked = state.asked.length;
      await page.evaluate(sign);
      await expect.poll(() => state.asked.length).toBeGreaterThan(asked);
    }
    // It does not wait for that one for ever, either.
    const askedBefore = state.asked.length;
    await page.clock.runFor(190_000);
    await expect.poll(() => state.asked.length).toBeGreaterThan(askedBefore);
    state.isHeld = false;
    for (const next of state.asked) next();
    await page.locator("[data-part=banner]").waitFor({ state: "hidden" });
  });

  it("tells that the server can't list its models, and goes on when it can", async () => {
    const host = await startHost();
    await addModel(host, "chat", { state: 2, memory: memory({ weights: 100 * MIB }) });
    const page = await openPage(host.url);
    await rowOf(page, "chat").waitFor();
    const { list } = host.registry;
    host.registry.list = () => Promise.reject(new Error("the database is gone"));
    await page.getByText("The server has no new figures:").first().waitFor();
    await page.getByText(/What is shown was last seen \d s ago/).waitFor();
    host.registry.list = list;
    await page.locator("[data-part=banner]").waitFor({ state: "hidden" });
    await page.getByText("live", { exact: true }).waitFor();
  });
});
