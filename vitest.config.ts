import { defineConfig } from "vitest/config";

/** What packs and installs the package before it begins. */
const onPacked = ["__tests__/packed/**/*.test.ts"];

/** What runs on Express itself is run on both of its versions. */
const onExpress = [
  "__tests__/allowed-hosts.test.ts",
  "__tests__/basic-auth.test.ts",
  "__tests__/bearer-auth.test.ts",
  "__tests__/dashboard/*.test.ts",
  "__tests__/openapi.test.ts",
  "__tests__/router.test.ts",
];

export default defineConfig({
  test: {
    testTimeout: 20_000,
    // What is waited for comes soon, but a machine may be busy.
    expect: { poll: { timeout: 10_000 } },
    // Most of the time is spent waiting for other processes.
    maxWorkers: 4,
    coverage: {
      include: ["lib/**"],
      // It runs in a browser, which the tests of it start.
      exclude: ["lib/dashboard/page/**"],
      reporter: [["text", { skipFull: true }]],
      // Elsewhere, what needs /proc is skipped.
      thresholds: process.platform === "linux" ? { lines: 95 } : {},
    },
    projects: [
      { extends: true, test: { name: "express 5", include: ["__tests__/**/*.test.ts"], exclude: onPacked } },
      { extends: true, test: { name: "express 4", include: onExpress, alias: { express: "express4" } } },
      {
        extends: true,
        test: { name: "packed", include: onPacked, globalSetup: "__tests__/packed/setup.ts" },
      },
    ],
  },
});
