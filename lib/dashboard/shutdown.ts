import { asMonitorError, errorAnswer } from "../errors.js";
import { type BackendMonitor, partsOf } from "../monitor.js";
import { listModels } from "../registry/look-up.js";
import type { ShutdownOrder } from "./request.js";
import type { ShutdownOutcome, ShutdownOutcomes } from "./wire.js";

/**
 * Stops models, all at the same time: what becomes of one changes nothing for the others.
 *
 * @throws {InternalError} where all are to be stopped, and the registry can't list them.
 */
export async function shutDown(
  monitor: BackendMonitor,
  { models, force }: ShutdownOrder,
): Promise<ShutdownOutcomes> {
  const names = models ?? (await listed(monitor));
  return { outcomes: await Promise.all(names.map((name) => shutDownOne(monitor, name, force))) };
}

async function shutDownOne(monitor: BackendMonitor, model: string, force: boolean): Promise<ShutdownOutcome> {
  try {
    await monitor.shutdown(model, { force });
    return { model, message: "model stopped" };
  } catch (error) {
    return { model, ...errorAnswer(asMonitorError(error)) };
  }
}

async function listed(monitor: BackendMonitor): Promise<string[]> {
  const { registry, log, statusTimeoutMs } = partsOf(monitor);
  try {
    return [...(await listModels(registry, statusTimeoutMs)).keys()];
  } catch (error) {
    log.failure(asMonitorError(error));
    throw error;
  }
}
