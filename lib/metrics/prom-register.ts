import type { OpenMetricsContentType, Registry } from "prom-client";
import { type OptionCheck, objectWith } from "../options.js";

/** What prom-client calls a register, of either content type. */
export type PromRegister = Registry | Registry<OpenMetricsContentType>;

/** It may be of another copy of prom-client than this package's. */
export const aRegister: OptionCheck = {
  ...objectWith("registerMetric", "getSingleMetric"),
  takes: "a Registry of prom-client",
};
