/** A backend without Status, as most real ones are: only the operating system can tell what it costs. */
import { callsOf } from "./calls.js";
import { Model } from "./model.js";
import { serve } from "./serve.js";

serve(callsOf(new Model()));
