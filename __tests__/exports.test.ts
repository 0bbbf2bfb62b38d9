import { readFileSync } from "node:fs";
import type * as api from "express-backend-monitor";
import type * as dashboardApi from "express-backend-monitor/dashboard";
import type * as metricsApi from "express-backend-monitor/metrics";
import type * as processApi from "express-backend-monitor/process";
import ts from "typescript";
import { describe, expect, expectTypeOf, it } from "vitest";

/** What an entry exports: what is there when it runs, and what is for the compiler alone. */
const ENTRIES = {
  "express-backend-monitor": {
    file: "index",
    values: [
      "BackendCallError",
      "BackendError",
      "BackendMonitor",
      "BackendState",
      "BackendSupervisor",
      "InMemoryModelRegistry",
      "InternalError",
      "InvalidRequestError",
      "ModelBusyError",
      "ModelNotLoadedError",
      "MonitorError",
      "StartError",
      "TerminateError",
      "basicAuth",
      "bearerAuth",
      "createBackendMonitorRouter",
      "grpcBackendClient",
      "openApiDocument",
    ],
    types: [
      "BackendClient",
      "BackendClientFactory",
      "BackendExit",
      "BackendFailure",
      "BackendMonitorEvents",
      "BackendMonitorOptions",
      "BackendMonitorRouterOptions",
      "BackendStatus",
      "BackendSupervisorEvents",
      "BackendSupervisorOptions",
      "ErrorAnswer",
      "ErrorType",
      "GrpcBackendClientOptions",
      "GuardOptions",
      "LoadedModel",
      "Logger",
      "MemoryUsage",
      "ModelOverview",
      "ModelRegistry",
      "MonitorAnswer",
      "MonitorLatency",
      "OpenApiDocument",
      "OpenApiOperation",
      "OpenApiSecurityScheme",
      "ProcessCost",
      "Registration",
      "RegistryShutdownOptions",
      "RestartPolicy",
      "RunEnd",
      "SharedMonitorRouterOptions",
      "ShutdownOptions",
      "ShutdownPhase",
      "ShutdownProgress",
      "StartOptions",
    ],
  },
  "express-backend-monitor/dashboard": {
    file: "dashboard/index",
    values: ["createDashboardRouter"],
    types: ["DashboardRouterOptions"],
  },
  "express-backend-monitor/metrics": {
    file: "metrics/index",
    values: ["registerBackendMetrics"],
    types: ["BackendMetricsOptions"],
  },
  "express-backend-monitor/process": {
    file: "process/index",
    values: [
      "ProcessGoneError",
      "TerminateError",
      "processStartTime",
      "sampleProcess",
      "terminateProcessTree",
    ],
    types: ["ProcessSample", "SampleOptions", "TerminateOptions"],
  },
} as const;

type Values<Entry extends keyof typeof ENTRIES> = (typeof ENTRIES)[Entry]["values"][number];

describe.each(Object.entries(ENTRIES))("%s", (entry, { file, values, types }) => {
  it("declares these names, and no others", () => {
    const declarations = readFileSync(new URL(`../dist/${file}.d.ts`, import.meta.url), "utf8");
    const { statements } = ts.createSourceFile("index.d.ts", declarations, ts.ScriptTarget.Latest);
    const exported = statements.flatMap((statement) => {
      if (!ts.isExportDeclaration(statement) || !statement.exportClause) return [{ name: "export *" }];
      if (!ts.isNamedExports(statement.exportClause)) return [{ name: "export * as" }];
      return statement.exportClause.elements.map(({ name, isTypeOnly }) => ({
        name: name.text,
        isType: isTypeOnly || statement.isTypeOnly,
      }));
    });
    const namesOf = (isType: boolean) =>
      exported.filter((name) => ("isType" in name ? name.isType : false) === isType).map(({ name }) => name);
    expect(namesOf(false).sort()).toEqual(values);
    expect(namesOf(true).sort()).toEqual(types);
  });

  it("has these values when it runs", async () => {
    expect(Object.keys(await import(entry)).sort()).toEqual(values);
  });
});

it("declares as values what it has when it runs", () => {
  expectTypeOf<keyof typeof api>().toEqualTypeOf<Values<"express-backend-monitor">>();
  expectTypeOf<keyof typeof dashboardApi>().toEqualTypeOf<Values<"express-backend-monitor/dashboard">>();
  expectTypeOf<keyof typeof metricsApi>().toEqualTypeOf<Values<"express-backend-monitor/metrics">>();
  expectTypeOf<keyof typeof processApi>().toEqualTypeOf<Values<"express-backend-monitor/process">>();
});
