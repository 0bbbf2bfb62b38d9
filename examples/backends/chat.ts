/** A backend that implements everything: it reports what it is doing, and the memory that it holds. */
import { callsOf, type Reply } from "./calls.js";
import { Model } from "./model.js";
import { serve } from "./serve.js";

const model = new Model();

serve({
  ...callsOf(model),
  Status: (_call: unknown, reply: Reply) =>
    reply(null, { state: model.isBusy ? "BUSY" : "READY", memory: model.memory }),
});
