/**
 * The load generator. For each {@link Load} that it is sent, it sends back a {@link Measured}.
 */
import autocannon from "autocannon";

export interface Load {
  url: string;
  connections: number;
  seconds: number;
  /** How many models there are: each connection asks for one, and a connection alone for all in turn. */
  models: number;
}

export interface Measured {
  requests: number;
  /** Of those, how many were not answered with 200. */
  failed: number;
  seconds: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
}

async function measure({ url, connections, seconds, models }: Load): Promise<Measured> {
  const times: number[] = [];
  let failed = 0;
  let clients = 0;
  const path = (model: number) => ({ path: `/backend/monitor?model=${model}` });
  const all = Array.from({ length: models }, (_, model) => path(model));
  const startedAt = performance.now();
  await autocannon({
    url,
    connections,
    duration: seconds,
    setupClient(client) {
      client.setRequests(connections === 1 ? all : [path(clients++ % models)]);
      client.on("response", (status, _bytes, ms) => {
        times.push(ms);
        if (status !== 200) failed++;
      });
    },
  });
  times.sort((a, b) => a - b);
  const percentile = (percent: number) => times[Math.floor((times.length * percent) / 100)] ?? Number.NaN;
  return {
    requests: times.length,
    failed,
    seconds: (performance.now() - startedAt) / 1000,
    p50: percentile(50),
    p99: percentile(99),
  };
}

process.on("message", async (load: Load) => process.send?.(await measure(load)));
process.on("disconnect", () => process.exit());
