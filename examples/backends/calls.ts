/** The calls that chat and plain have in common. */
import type { ServerUnaryCall, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Model } from "./model.js";

export type Reply = sendUnaryData<object>;
type PredictCall = ServerUnaryCall<{ Prompt: string; Tokens: number }, object>;

export function callsOf(model: Model): UntypedServiceImplementation {
  return {
    Health: (_call: unknown, reply: Reply) => reply(null, { message: Buffer.from("OK") }),
    Free: (_call: unknown, reply: Reply) => {
      model.free();
      reply(null, { success: true, message: "freed" });
    },
    Predict: async ({ request }: PredictCall, reply: Reply) => {
      const text = await model.predict(request.Prompt, request.Tokens);
      reply(null, { message: Buffer.from(text) });
    },
  };
}
