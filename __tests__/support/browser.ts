import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll } from "vitest";

/** Where Chromium and its relatives are, on the systems that these tests run on. */
const USUAL_PATHS = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];

/** `CHROMIUM_PATH=` goes without one. */
const executablePath = process.env.CHROMIUM_PATH ?? USUAL_PATHS.find((path) => existsSync(path));

export const hasBrowser = !!executablePath;

/** What stands in the name of tests that need one. */
export const inBrowser = hasBrowser ? "" : " (SKIPPED: no Chromium; install one, or set CHROMIUM_PATH)";

/** A name that the browser takes for this machine's, as a page's owner can have any name server say. */
export const EVIL_NAME = "evil.example";

/** One browser for all tests of a file. */
export function useBrowser(): () => Browser {
  let browser: Browser | undefined;
  beforeAll(async () => {
    if (!executablePath) return;
    browser = await chromium.launch({
      executablePath,
      // No other name is looked up, so that nothing leaves this machine.
      args: [`--host-resolver-rules=MAP ${EVIL_NAME} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`],
    });
  }, 60_000);
  afterAll(() => browser?.close());
  return () => {
    if (!browser) throw new Error("there is no browser");
    return browser;
  };
}
