/** What is said of a run that did not get ready, or ended. */
import { quote } from "../message.js";
import type { RunEnd } from "./backend-run.js";
import type { BackendCommand } from "./plan.js";

/** Node, Python, Go and C++ have words of their own for it, and Windows has others. */
const ADDRESS_IN_USE =
  /EADDRINUSE|WinError 10048|address (is )?already in use|only one usage of each socket address/i;

/** Whether a backend could not listen, as another program does so at its address. */
export function saysAddressInUse(stderr: string): boolean {
  return ADDRESS_IN_USE.test(stderr);
}

export function hasEnded({ code, signal }: RunEnd): boolean {
  return code !== null || signal !== null;
}

export function howItEnded({ code, signal }: RunEnd): string {
  return signal === null ? `its process exited with code ${code}` : `its process was ended by ${signal}`;
}

/** What kept a command from being started, or a backend from being ready. */
export function explainUnready(cause: Error, { command, cwd }: BackendCommand): string {
  const { code, syscall } = cause as NodeJS.ErrnoException;
  if (syscall !== `spawn ${command}`) return cause.message;
  const folder = cwd === undefined ? "" : `, and is there a folder ${quote(cwd)}`;
  const hint = { ENOENT: `; is it installed${folder}?`, EACCES: "; is it a program that this user may run?" }[
    code ?? ""
  ];
  return `${quote(command)} can't be started (${code})${hint ?? ""}`;
}
