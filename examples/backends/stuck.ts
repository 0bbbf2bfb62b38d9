/** A backend that accepts every call and never answers one. */
import { serve } from "./serve.js";

const neverAnswer = () => {};

serve({ Health: neverAnswer, Status: neverAnswer, Free: neverAnswer, Predict: neverAnswer });
