/** A backend without Status, as most real ones are: only the operating system can tell what it costs. */
import type { ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { Model } from "./model.js";
import { serve } from "./serve.js";

const model = new Model();

serve({
  Health: (_call: unknown, reply: sendUnaryData<object>) => reply(null, { message: Buffer.from("OK") }),
  Predict: async (
    { request }: ServerUnaryCall<{ Prompt: string; Tokens: number }, object>,
    reply: sendUnaryData<object>,
  ) => {
    const text = await model.predict(request.Prompt, request.Tokens);
    reply(null, { message: Buffer.from(text) });
  },
});
