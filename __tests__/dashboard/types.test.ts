// What users of the subpath compile against: its built declarations. All of this is checked by `tsc -p __tests__`.
import type { RequestHandler, Router } from "express";
import type { BackendMonitor } from "express-backend-monitor";
import type * as api from "express-backend-monitor/dashboard";
import { expectTypeOf, it } from "vitest";

it("has these types", () => {
  expectTypeOf<typeof api.createDashboardRouter>().toEqualTypeOf<
    (options: api.DashboardRouterOptions) => Router
  >();
  interface Options {
    monitor: BackendMonitor;
    sampleIntervalMs?: number | undefined;
    authorize?: RequestHandler | readonly RequestHandler[] | undefined;
    allowedHosts?: readonly string[] | undefined;
  }
  expectTypeOf<api.DashboardRouterOptions>().toEqualTypeOf<Options>();
});
