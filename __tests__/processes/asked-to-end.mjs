// Imported into an example and what it starts: a backend that gets SIGTERM says so in the file $ASKED_TO_END, and ends.
import { appendFileSync } from "node:fs";

if (process.argv[1]?.includes("/backends/")) {
  process.on("SIGTERM", () => {
    appendFileSync(process.env.ASKED_TO_END, "asked to end\n");
    process.exit();
  });
}
