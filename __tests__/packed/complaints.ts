import { execFile } from "node:child_process";

/** Runs a program that checks something: resolves with all that it says where it finds fault, with nothing where it does not. */
export function complaints(program: string, args: string[], cwd?: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { cwd }, (error, stdout, stderr) =>
      resolve(error ? `${error.message}\n${stdout}${stderr}` : ""),
    );
  });
}
