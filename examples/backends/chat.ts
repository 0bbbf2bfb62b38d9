/** A backend that implements everything: it reports what it is doing, and the memory that it holds. */
import type { ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { Model } from "./model.js";
import { serve } from "./serve.js";

const model = new Model();

serve({
  Health: (_call: unknown, reply: sendUnaryData<object>) => reply(null, { message: Buffer.from("OK") }),
  Status: (_call: unknown, reply: sendUnaryData<object>) =>
    reply(null, { state: model.isBusy ? "BUSY" : "READY", memory: model.memory }),
  Free: (_call: unknown, reply: sendUnaryData<object>) => {
    model.free();
    reply(null, { success: true, message: "freed" });
  },
  Predict: async (
    { request }: ServerUnaryCall<{ Prompt: string; Tokens: number }, object>,
    reply: sendUnaryData<object>,
  ) => {
    const text = await model.predict(request.Prompt, request.Tokens);
    reply(null, { message: Buffer.from(text) });
  },
});
