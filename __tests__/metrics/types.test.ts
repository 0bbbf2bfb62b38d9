// What the package's users compile against: its built declarations. All of this is checked by `tsc -p __tests__`.
import type { BackendMonitor } from "express-backend-monitor";
import type * as api from "express-backend-monitor/metrics";
import type { OpenMetricsContentType, Registry } from "prom-client";
import { expectTypeOf, it } from "vitest";

it("the types of express-backend-monitor/metrics are these", () => {
  expectTypeOf<api.BackendMetricsOptions>().toEqualTypeOf<{
    monitor: BackendMonitor;
    register: Registry | Registry<OpenMetricsContentType>;
  }>();
  expectTypeOf<typeof api.registerBackendMetrics>().toEqualTypeOf<
    (options: api.BackendMetricsOptions) => void
  >();
});
