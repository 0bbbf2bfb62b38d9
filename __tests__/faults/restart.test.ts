import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import { type Host, PATIENT, REPORT, undisturbed } from "../support/faults.js";
import { end, isLinux, startScript } from "../support/processes.js";

/** No connection starts from a port of this one, so that the port of a backend that is down stays free. */
const HOST = isLinux ? "127.0.0.2" : "127.0.0.1";

const MODELS = 5;
const ROUNDS = 2;

/** By then, gRPC by itself would wait for longer than a second until it tries again. */
const DOWNTIME_MS = 2_500;

it("sees a backend again a second after it was restarted, each of ten times", {
  timeout: 60_000,
}, async () => {
  await undisturbed(async (host) => {
    const restarts = Array.from({ length: MODELS }, (_, model) => restart(host, `model ${model}`, model));
    // Where one fails, the others are not to start any more backends.
    await Promise.allSettled(restarts);
    await Promise.all(restarts);
  }, PATIENT);
});

async function restart({ models, monitor }: Host, name: string, offset: number) {
  const launch = (port: number) =>
    startScript("reporting.mjs", ["--listen", JSON.stringify({ host: HOST, port })]);
  let backend = await launch(0);
  const port = Number(backend.words[0]);
  models.register({ name, address: `${HOST}:${port}` });
  expect((await monitor(name)).json).toEqual(REPORT);
  for (let round = 0; round < ROUNDS; round++) {
    await end(backend.pid);
    // Every other time nobody looks: the first to find out that the connection is dead is who asks when it is up again.
    if ((round + offset) % 2 === 0) {
      for (const backAt = performance.now() + DOWNTIME_MS; performance.now() < backAt; await delay(100)) {
        expect((await monitor(name)).json).toMatchObject({ error: { type: "backend_error" } });
      }
    }
    backend = await launch(port);
    await delay(1_000);
    expect((await monitor(name)).json).toEqual(REPORT);
  }
  await end(backend.pid);
}
