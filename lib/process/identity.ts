/**
 * An identity that descendants inherit: an id in the environment. By it a process is known whatever became of its parents,
 * as build servers find what a job left behind.
 */

/** Holds the ids that a process bears, with a space in between: a host may itself have been started with one. */
const ID_VARIABLE = "EXPRESS_BACKEND_MONITOR_ID";

/** An environment in which a process bears this id, beside those that it bears already. */
export function environmentWithId(environment: NodeJS.ProcessEnv, id: string): NodeJS.ProcessEnv {
  const ids = [environment[ID_VARIABLE], id].filter(Boolean);
  return { ...environment, [ID_VARIABLE]: ids.join(" ") };
}

/** The ids in an environment: `NAME=value` with a zero byte after each. */
export function idsIn(environment: string): string[] {
  const variable = environment.split("\0").find((each) => each.startsWith(`${ID_VARIABLE}=`));
  return variable?.slice(ID_VARIABLE.length + 1).split(" ") ?? [];
}
