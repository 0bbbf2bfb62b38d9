import type { Request, Response } from "express";
import { beforeEach, expect, it, vi } from "vitest";
import { basicAuth, bearerAuth } from "../../lib/index.js";

const compared = vi.hoisted(() => vi.fn());
vi.mock("node:crypto", async (importOriginal) => {
  const original = await importOriginal<typeof import("node:crypto")>();
  const timingSafeEqual = (a: Buffer, b: Buffer) => {
    compared(a.length, b.length);
    return original.timingSafeEqual(a, b);
  };
  return { ...original, timingSafeEqual };
});

beforeEach(() => compared.mockClear());

// To measure the time itself would tell more of the machine than of the code.
it.each([
  ["the first", "Bearer first"],
  ["the last", "Bearer third"],
  ["a near miss", "Bearer firsx"],
  ["one that is much longer", `Bearer ${"x".repeat(5_000)}`],
  ["none", undefined],
])("for %s token, all are compared, by as many bytes, in constant time", (_which, authorization) => {
  const guard = bearerAuth(["first", "second", "third"]);
  const res = { setHeader: () => {}, end: () => {} } as unknown as Response;
  guard({ headers: { authorization } } as Request, res, () => {});
  expect(compared.mock.calls).toEqual([
    [32, 32],
    [32, 32],
    [32, 32],
  ]);
});

it.each([
  ["the last", "bob:other"],
  ["a near miss", "alice:s3cres"],
  ["a longer one", `alice:${"x".repeat(5_000)}`],
  ["no", ""],
])("for %s password, those of all users are compared in the same way", (_which, user) => {
  const guard = basicAuth({ alice: "s3cret", bob: "other" });
  const res = { setHeader: () => {}, end: () => {} } as unknown as Response;
  const authorization = `Basic ${Buffer.from(user).toString("base64")}`;
  guard({ headers: { authorization } } as Request, res, () => {});
  expect(compared.mock.calls).toEqual([
    [32, 32],
    [32, 32],
  ]);
});
