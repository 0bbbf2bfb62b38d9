import { InvalidRequestError } from "../errors.js";
import { describe } from "../message.js";
import { ajv, explain, inQuery, MODEL_NAME, MONITOR_REQUEST } from "../request.js";

/** What a body of `POST api/backends/shutdown` asks for. */
export interface ShutdownOrder {
  /** The models' names, each once; `undefined` where all are to be stopped. */
  readonly models: readonly string[] | undefined;
  readonly force: boolean;
}

type ShutdownBody = { force?: boolean } & ({ model: string } | { models: string[] } | { all: true });

/** Each of them is a shutdown, and all of them begin at once. */
const MAX_MODELS = 1_000;

const SHUTDOWN_REQUEST = {
  type: "object",
  oneOf: ["model", "models", "all"].map((member) => ({ type: "object", required: [member] })),
  properties: {
    model: MODEL_NAME,
    models: { type: "array", minItems: 1, maxItems: MAX_MODELS, items: MODEL_NAME },
    all: { const: true },
    force: { type: "boolean" },
  },
};

const SHUTDOWN_HINT =
  'send {"model": "NAME"}, {"models": ["NAME", …]} or {"all": true}, one of them, as application/json';
const QUERY_HINT = "send ?model=NAME";

/** Reads the dashboard's requests. Made once a router: to compile the schemas takes longer than an import should. */
export class DashboardRequestReader {
  readonly #isModel = ajv.compile<{ model: string }>(MONITOR_REQUEST);
  readonly #isShutdown = ajv.compile<ShutdownBody>(SHUTDOWN_REQUEST);

  /** @throws {InvalidRequestError} where the query does not name one model as it should. */
  modelOf(url: string): string {
    const query = { model: inQuery(url, "model") };
    if (!this.#isModel(query)) throw new InvalidRequestError(explain(this.#isModel.errors, QUERY_HINT));
    return query.model;
  }

  /** @throws {InvalidRequestError} where the query says anything else of it than `true` or `false`. */
  isFollowed(url: string): boolean {
    const follow = inQuery(url, "follow") ?? "false";
    if (follow !== "true" && follow !== "false") {
      throw new InvalidRequestError(`"follow" must be true or false, got ${describe(follow)}`);
    }
    return follow === "true";
  }

  /** @throws {InvalidRequestError} where the body does not say in one way what to stop. */
  shutdownOf(body: unknown): ShutdownOrder {
    const isValid = this.#isShutdown;
    if (!isValid(body)) throw new InvalidRequestError(explainShutdown(isValid.errors ?? []));
    const { force = false } = body;
    if ("models" in body) return { models: [...new Set(body.models)], force };
    return { models: "model" in body ? [body.model] : undefined, force };
  }
}

function explainShutdown(errors: NonNullable<(typeof ajv)["errors"]>): string {
  // It says which of the ways were there, where there was more than one.
  if (errors.some(({ keyword, params }) => keyword === "oneOf" && params.passingSchemas)) {
    return `it says in more than one way what to stop; ${SHUTDOWN_HINT}`;
  }
  const error = errors[0];
  switch (error?.keyword) {
    case "const":
      return `"all" must be true, got ${describe(error.data)}`;
    case "maxItems":
      return `"models" has more than ${MAX_MODELS} names; send them in several requests`;
    case "minItems":
      return `"models" is empty; ${SHUTDOWN_HINT}`;
    default:
      return explain(errors, SHUTDOWN_HINT);
  }
}
