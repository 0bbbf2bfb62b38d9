// What users of the subpath compile against: its built declarations. All of this is checked by `tsc -p __tests__`.
import type * as main from "express-backend-monitor";
import type * as api from "express-backend-monitor/process";
import { describe, expectTypeOf, it } from "vitest";

describe("the types of express-backend-monitor/process", () => {
  it("are these of the functions", () => {
    expectTypeOf<typeof api.sampleProcess>().toEqualTypeOf<
      (pid: number, options?: api.SampleOptions) => Promise<api.ProcessSample>
    >();
    expectTypeOf<typeof api.processStartTime>().toEqualTypeOf<(pid: number) => Promise<number | undefined>>();
    expectTypeOf<typeof api.terminateProcessTree>().toEqualTypeOf<
      (pid: number, options?: api.TerminateOptions) => Promise<number>
    >();
  });

  it("are these of options", () => {
    expectTypeOf<api.SampleOptions>().toEqualTypeOf<{
      startTime?: number | undefined;
      previous?: api.ProcessSample | undefined;
    }>();
    expectTypeOf<api.TerminateOptions>().toEqualTypeOf<{
      startTime?: number | undefined;
      timeoutMs?: number | undefined;
    }>();
  });

  it("are these of samples", () => {
    expectTypeOf<api.ProcessSample>().toHaveProperty("history");
    expectTypeOf<Omit<api.ProcessSample, "history">>().toEqualTypeOf<{
      readonly pid: number;
      readonly startTime: number;
      readonly startedAt: number;
      readonly processes: number;
      readonly rss: number;
      readonly vms: number | null;
      readonly breakdown: Readonly<Record<string, number>>;
      readonly memoryPercent: number;
      readonly cpuPercent: number | null;
      readonly cpuMs: number;
    }>();
  });

  it("are these of errors", () => {
    expectTypeOf<api.ProcessGoneError>().toExtend<Error>();
    expectTypeOf<Omit<api.ProcessGoneError, "message" | "stack" | "cause">>().toEqualTypeOf<{
      readonly name: "ProcessGoneError";
      readonly pid: number;
    }>();
    expectTypeOf<ConstructorParameters<typeof api.ProcessGoneError>>().toEqualTypeOf<
      [pid: number, message: string]
    >();
    expectTypeOf<api.TerminateError>().toExtend<Error>();
    expectTypeOf<Omit<api.TerminateError, "message" | "stack" | "cause">>().toEqualTypeOf<{
      readonly name: "TerminateError";
      readonly processes: readonly { readonly pid: number; readonly command: string }[];
      readonly ended: number;
    }>();
    expectTypeOf<typeof api.TerminateError>().toEqualTypeOf<typeof main.TerminateError>();
  });
});
