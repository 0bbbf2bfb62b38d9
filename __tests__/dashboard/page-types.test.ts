// The page is compiled by itself, and declares what it reads: this holds that against what is sent. Checked by `tsc -p __tests__`.
import { describe, expectTypeOf, it } from "vitest";
import type * as page from "../../lib/dashboard/page/api.js";
import type * as wire from "../../lib/dashboard/wire.js";

/** What a value is once it was JSON: a byte count is a number of all its digits. */
type Json<T> = T extends bigint ? number : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

describe("what the page of the dashboard reads", () => {
  it("is what is sent", () => {
    expectTypeOf<Json<wire.Snapshot>>().toExtend<page.Snapshot>();
    expectTypeOf<Json<wire.Change>>().toExtend<page.Change>();
    expectTypeOf<Json<wire.ShutdownNews>>().toExtend<page.ShutdownNews>();
    expectTypeOf<Json<wire.Trouble>>().toExtend<page.Trouble>();
    expectTypeOf<Json<wire.ShutdownOutcomes>>().toExtend<page.ShutdownOutcomes>();
    expectTypeOf<Json<wire.History>>().toExtend<page.History>();
  });

  it("has no member that is not sent", () => {
    type Members<T> = T extends readonly (infer Item)[]
      ? Members<Item>
      : T extends object
        ? keyof T | { [K in keyof T]: Members<T[K]> }[keyof T]
        : never;
    expectTypeOf<Members<Required<page.Model>>>().toExtend<
      Members<Required<wire.Snapshot["models"][number]>>
    >();
    expectTypeOf<keyof page.Snapshot>().toEqualTypeOf<keyof wire.Snapshot>();
    expectTypeOf<keyof page.ShutdownNews>().toEqualTypeOf<keyof wire.ShutdownNews>();
    expectTypeOf<page.ShutdownNews["phase"]>().toEqualTypeOf<wire.ShutdownNews["phase"]>();
  });
});
