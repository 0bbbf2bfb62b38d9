import {
  ProcessGoneError,
  processStartTime,
  sampleProcess,
  TerminateError,
  terminateProcessTree,
} from "express-backend-monitor/process";

export async function stop(pid: number): Promise<number | null> {
  const { rss, cpuPercent } = await sampleProcess(pid);
  const startTime = await processStartTime(pid);
  try {
    await terminateProcessTree(pid, { startTime, timeoutMs: 1_000 });
  } catch (error) {
    if (!(error instanceof TerminateError || error instanceof ProcessGoneError)) throw error;
  }
  return rss ?? cpuPercent;
}

// @ts-expect-error a process id is a number
sampleProcess("4711");
