/** A worker of the plain backend that does not want to end. It holds memory, as those of real ones do. */
const held = Buffer.alloc(16 * 1024 * 1024, "held");

process.on("SIGTERM", () => console.log("worker: SIGTERM is ignored"));
setInterval(() => held.length, 1000);
