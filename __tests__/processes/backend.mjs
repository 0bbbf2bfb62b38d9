// A backend on node:http2 alone, so that it is there at once: Health replies OK, all else is UNIMPLEMENTED. The kinds of
// nastiness that are named behind --kind, with commas in between:
//   bare      a worker without an environment           chain     a worker that is handed on from process to process
//   crash     ends by itself, with code 3, on SIGUSR2    daemon    a worker whose parent is init
//   deaf      ignores SIGTERM                            escaping  a worker with another parent, without an environment,
//                                                                  that has the port too; its id is printed
//   failing   exits with code 7 instead of listening     flood     prints without an end
//   forking   answers SIGTERM with more processes
//   holding   a worker that holds the pipes open         meek      workers that do not ignore SIGTERM
//   never     listens, and is never healthy
//   polite    says when it got SIGTERM and when it ends  printing  prints what is sent to /print, in one write
//   reports   Status answers, with memory                respawn   starts its worker again when that ends
//   session   a worker in a session of its own
//   setuid    becomes user 1                             slow      takes 200 ms to end
//   stopped   stops itself when it is ready              stuck     answers nothing but Health
//   watchful  says which signals it gets                 zombies   has children that it never waits for
// Workers have TEST_MARK on their command line, and ignore SIGTERM otherwise. With "announced", it prints its id when it is there.
import { spawn, spawnSync } from "node:child_process";
import { createServer } from "node:http2";
import { parseArgs } from "node:util";

const { addr = "", kind = "" } = parseArgs({
  options: { addr: { type: "string" }, kind: { type: "string" } },
  allowPositionals: true,
}).values;
const is = (name) => kind.split(",").includes(name);

const WORK = `: ${process.env.TEST_MARK}; ${is("meek") ? "" : 'trap "" TERM;'} while :; do sleep 0.3; done`;
const sh = (script, options) => spawn("sh", ["-c", script], { stdio: "ignore", ...options });

if (is("failing")) {
  console.log("this goes to stdout");
  for (let line = 1; line <= 30; line++) console.error(`line ${line} of what went wrong`);
}
if (is("bare")) sh(WORK, { env: { PATH: process.env.PATH } });
if (is("session")) sh(WORK, { detached: true });
if (is("holding")) sh(WORK, { detached: true, stdio: "inherit" });
if (is("daemon")) sh(`(${WORK}) &`, { detached: true });
if (is("chain")) sh('trap "" TERM; hand_on() { sleep 0.1; hand_on & }; hand_on &', { detached: true });
if (is("zombies")) sh("sleep 0 & sleep 0 & exec sleep 60");
if (is("respawn")) {
  const respawn = () => sh(WORK).on("exit", respawn);
  respawn();
}
if (is("flood")) {
  const line = `${"x".repeat(1023)}\n`.repeat(64);
  const pour = () => process.stdout.write(line, () => setTimeout(pour, 1));
  pour();
}
if (is("failing")) process.exit(7);

if (is("setuid")) {
  process.setgid(1);
  process.setuid(1);
}
process.on("SIGUSR2", () => {
  console.error("something went wrong");
  if (is("crash")) process.exit(3);
});
if (is("watchful")) {
  for (const signal of ["SIGTERM", "SIGCONT", "SIGINT", "SIGHUP"]) process.on(signal, console.log);
}
if (is("deaf")) process.on("SIGTERM", () => {});
if (is("slow")) process.on("SIGTERM", () => setTimeout(() => process.exit(), 200));
if (is("polite")) {
  process.on("SIGTERM", () => {
    console.log(`SIGTERM at ${Date.now()}`);
    process.exit();
  });
  process.on("exit", () => console.log(`ends at ${Date.now()}`));
}
if (is("forking")) {
  process.on("SIGTERM", () => {
    for (let child = 0; child < 5; child++) sh(WORK, { detached: true });
    setTimeout(() => sh(WORK), 20);
  });
}

const GRPC = { ":status": 200, "content-type": "application/grpc" };
/** Each message stands behind a byte of flags and four of length. */
const REPLIES = {
  /** { message: "OK" } */
  "/backend.Backend/Health": is("never") ? undefined : Buffer.from("00" + "00000004" + "0a024f4b", "hex"),
  /** { state: 2, memory: { total: 300, breakdown: { weights: 300 } } } */
  "/backend.Backend/Status": is("reports")
    ? Buffer.from("00" + "00000015" + "0802" + "121108ac02" + "120c0a077765696768747310ac02", "hex")
    : undefined,
};

const server = createServer();
server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  if (is("printing") && headers[":path"] === "/print") {
    const sent = [];
    stream.on("data", (chunk) => sent.push(chunk));
    stream.on("end", () =>
      process.stdout.write(Buffer.concat(sent), () => stream.respond({}, { endStream: true })),
    );
    return;
  }
  const reply = REPLIES[headers[":path"]];
  if (!reply && is("stuck")) return;
  if (!reply) {
    stream.respond({ ...GRPC, "grpc-status": "12", "grpc-message": "no such method" }, { endStream: true });
    return;
  }
  stream.respond(GRPC, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(reply);
  // Once the reply has been sent.
  if (is("stopped")) stream.on("close", () => setTimeout(() => process.kill(process.pid, "SIGSTOP"), 20));
});
const [host, port] = addr.split(":");
server.listen(Number(port), host, () => {
  if (is("escaping")) {
    // What is handed on is the listening socket itself. Nothing is answered before its parent is gone.
    const stdio = ["ignore", "pipe", "ignore", server._handle.fd];
    const options = { detached: true, env: { PATH: process.env.PATH }, stdio };
    process.stdout.write(spawnSync("sh", ["-c", "sleep 60 >/dev/null & echo $!"], options).stdout);
  }
  if (is("announced")) console.log(process.pid);
});
