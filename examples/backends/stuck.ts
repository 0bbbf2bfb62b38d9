/** A backend that gets ready, and never answers a call after that. */
import type { Reply } from "./calls.js";
import { serve } from "./serve.js";

let isReady = false;
const neverAnswer = () => {};

serve({
  Health: (_call: unknown, reply: Reply) => {
    if (!isReady) reply(null, { message: Buffer.from("OK") });
    isReady = true;
  },
  Status: neverAnswer,
  Free: neverAnswer,
  Predict: neverAnswer,
});
