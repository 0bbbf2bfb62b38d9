import { MAX_BODY_BYTES } from "../body.js";
import { headers, type ResponseName, responses } from "./responses.js";
import { ref, schemas } from "./schemas.js";

/**
 * An OpenAPI 3.1 document, as {@link openApiDocument} makes it: as much of its structure as a host needs to change it, or to
 * make it part of its own.
 */
export interface OpenApiDocument {
  /** The version of OpenAPI. */
  openapi: string;
  /** What is described. */
  info: {
    /** What the API is called. */
    title: string;
    /** That of this package. */
    version: string;
    /** What the API is for. */
    description: string;
    /** That of this package. */
    license: {
      /** What it is called. */
      name: string;
      /** As SPDX has it. */
      identifier: string;
    };
  };
  /** Where the paths begin: at first at `/`, the root of the server. Change it where the router is under a prefix. */
  servers: {
    /** `/admin`, `https://example.com/admin`, … */
    url: string;
    /** Which server it is, where there are several. */
    description?: string;
  }[];
  /** The headings that operations are listed under. */
  tags: {
    /** What operations refer to in their `tags`. */
    name: string;
    /** What is under it. */
    description: string;
  }[];
  /** By path, then by method in lower case. */
  paths: Record<string, Record<string, OpenApiOperation>>;
  /** What the paths refer to, each by its name. */
  components: {
    /** What a request may have, and what an answer has. */
    schemas: Record<string, object>;
    /** The answers. */
    responses: Record<
      string,
      {
        /** When it is given. */
        description: string;
      }
    >;
    /** Their headers. */
    headers: Record<string, object>;
    /** What a guard wants to see: at first a token, as {@link bearerAuth} does, by the name `bearerAuth`. */
    securitySchemes: Record<string, OpenApiSecurityScheme>;
  };
  /** Any of these lets a request pass: at first a token, or nothing, as the guard is the host's. */
  security: Record<string, string[]>[];
}

/** One method of a path of an {@link OpenApiDocument}. */
export interface OpenApiOperation {
  /** Its name, for tools that generate code. */
  operationId: string;
  /** By HTTP status. */
  responses: Record<
    string,
    | {
        /** Where in `components` it is. */
        $ref: string;
      }
    | {
        /** When it is given. */
        description: string;
      }
  >;
  /** What else OpenAPI has: `summary`, `requestBody`, `security`, … */
  [member: string]: unknown;
}

/** What a guard wants to see: a token, or something of the host's own such as a cookie. */
export type OpenApiSecurityScheme =
  | {
      /** `Authorization: <scheme> …` */
      type: "http";
      /** `bearer`, `basic`, … */
      scheme: string;
      /** Where to get it. */
      description?: string;
    }
  | {
      /** A value that stands by itself. */
      type: "apiKey";
      /** Where it is sent. */
      in: "cookie" | "header" | "query";
      /** What the cookie, header or parameter is called. */
      name: string;
      /** Where to get it. */
      description?: string;
    };

/** That of package.json. */
const VERSION = "0.1.0";

const TAG = "backend monitor";

const REFUSALS: Record<string, ResponseName> = {
  400: "RequestInvalid",
  401: "TokenMissing",
  403: "HostNotAllowed",
  413: "BodyTooLarge",
  415: "BodyUnreadable",
};
const MONITOR_ANSWERS: Record<string, ResponseName> = { 200: "Monitored", ...REFUSALS, 500: "MonitorFailed" };
const SHUTDOWN_ANSWERS: Record<string, ResponseName> = {
  200: "Stopped",
  ...REFUSALS,
  405: "NotForShutdown",
  500: "ShutdownFailed",
};

/**
 * Describes the four endpoints as an OpenAPI 3.1 document, for tools that show, test or call them. It is a new object each
 * time, and all the host's: it is plain data, and may be changed. The package has the same as a file,
 * `express-backend-monitor/openapi.yaml`.
 *
 * ```ts
 * const document = openApiDocument();
 * document.servers = [{ url: "/admin" }]; // where the router is mounted under this prefix
 * app.get("/openapi.json", (_req, res) => res.json(document));
 * ```
 */
export function openApiDocument(): OpenApiDocument {
  const document: OpenApiDocument = {
    openapi: "3.1.0",
    info: {
      title: "Backend monitor",
      version: VERSION,
      description:
        "What each loaded model is doing and what memory and CPU it costs, and how to stop it: on the endpoints that " +
        "LocalAI calls its backend monitor. Every answer is JSON in UTF-8 (`application/json; charset=utf-8`).",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: [{ name: TAG, description: "The backends of models that are loaded." }],
    paths: { ...paths("", ""), ...paths("/v1", "V1") },
    components: {
      schemas: schemas(),
      responses: responses(),
      headers: headers(),
      securitySchemes: {
        bearerAuth: {
          type: "http",
          scheme: "bearer",
          description: "One of the tokens that the server gave to `bearerAuth`, where that is its guard.",
        },
      },
    },
    security: [{ bearerAuth: [] }, {}],
  };
  // Its parts are shared, with one another and with what checks requests: whoever changes one is to change nothing else.
  return JSON.parse(JSON.stringify(document));
}

/** The two paths under a prefix: LocalAI has them under both. */
function paths(prefix: string, suffix: string): OpenApiDocument["paths"] {
  const monitorRequest = {
    tags: [TAG],
    parameters: [
      {
        name: "model",
        in: "query",
        description: "The model's name, once. Needed unless the body has it.",
        schema: ref("ModelName"),
        examples: { plain: { value: "my-model" }, path: { value: "org/model:7b" } },
      },
    ],
  };
  return {
    [`${prefix}/backend/monitor`]: {
      get: {
        operationId: `monitorModel${suffix}`,
        summary: "What a model is doing and what it costs",
        description:
          "Asks the backend's `Status`, and where that fails or reports no memory, the operating system. Where the query has " +
          "no `model`, a JSON body may name it, as `MonitorRequest` has it: older clients of LocalAI send that. (It is not " +
          "declared here, as OpenAPI gives the body of a GET no meaning.)",
        ...monitorRequest,
        responses: mapValues({ ...MONITOR_ANSWERS, 405: "NotForMonitor" }, reference),
      },
      head: {
        operationId: `headMonitorModel${suffix}`,
        summary: "The same as GET, without the body",
        ...monitorRequest,
        responses: mapValues(MONITOR_ANSWERS, withoutBody),
      },
    },
    [`${prefix}/backend/shutdown`]: {
      post: {
        operationId: `shutdownModel${suffix}`,
        summary: "Stops a model's backend",
        tags: [TAG],
        description:
          "Waits until the model is idle, has the backend free its memory, then ends its process and all that descends " +
          "from it. Requests for the same model at the same time share one shutdown; a client that hangs up changes nothing " +
          "about it.",
        requestBody: {
          required: true,
          description: `At most ${MAX_BODY_BYTES} bytes.`,
          content: {
            "application/json": {
              schema: ref("ShutdownRequest"),
              examples: {
                gently: { summary: "When it is idle", value: { model: "my-model" } },
                atOnce: { summary: "At once", value: { model: "my-model", force: true } },
              },
            },
          },
        },
        responses: mapValues(SHUTDOWN_ANSWERS, reference),
      },
    },
  };
}

function reference(response: ResponseName) {
  return { $ref: `#/components/responses/${response}` };
}

function withoutBody(response: ResponseName) {
  const { description, headers } = responses()[response];
  return { description, headers };
}

function mapValues<T, U>(record: Record<string, T>, map: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
