import { MAX_BODY_BYTES } from "../body.js";
import type { ErrorType } from "../errors.js";
import { MODEL_NAME } from "../request.js";
import { ref } from "./schemas.js";

const CACHE_CONTROL = { "Cache-Control": { $ref: "#/components/headers/NoStore" } };

export type ResponseName =
  | "Monitored"
  | "Stopped"
  | "RequestInvalid"
  | "TokenMissing"
  | "HostNotAllowed"
  | "NotForMonitor"
  | "NotForShutdown"
  | "BodyTooLarge"
  | "BodyUnreadable"
  | "MonitorFailed"
  | "ShutdownFailed";

interface Response {
  description: string;
  headers: object;
  content: object;
}

export function headers(): Record<string, object> {
  return { NoStore: header("no-store", "No answer is to be stored.") };
}

export function responses(): Record<ResponseName, Response> {
  return {
    Monitored: {
      description: "What the model is doing and what it costs.",
      headers: CACHE_CONTROL,
      content: json(ref("MonitorAnswer"), {
        reported: {
          summary: "The backend reports its memory",
          value: {
            state: 2,
            memory: { total: 1073741824, breakdown: { weights: 536870912, kv_cache: 268435456 } },
          },
        },
        large: {
          summary: "The same, with figures that take all of 64 bits",
          value: {
            state: 1,
            memory: {
              total: 18446744073709550000,
              breakdown: { weights: 18446744073709550000, kv_cache: 0 },
            },
          },
        },
        sampled: {
          summary: "The backend reports its state alone",
          value: { state: 1, ...SAMPLE },
        },
        unknown: {
          summary: "The backend reports its state alone, and its process can't be seen",
          value: {
            state: 2,
            memory: { total: null, breakdown: {} },
            memory_info: { rss: null, vms: null },
            memory_percent: null,
            cpu_percent: null,
          },
        },
        healthy: {
          summary: "The backend has no Status, but is healthy",
          value: {
            state: 2,
            ...SAMPLE,
            status_error: {
              code: "UNIMPLEMENTED",
              message: "The server does not implement the method Status",
            },
          },
        },
        silent: {
          summary: "The backend does not answer",
          value: {
            state: -1,
            ...SAMPLE,
            status_error: { code: "DEADLINE_EXCEEDED", message: "the backend did not answer in time" },
          },
        },
      }),
    },
    Stopped: {
      description: "The model is stopped.",
      headers: CACHE_CONTROL,
      content: json(ref("ShutdownAnswer"), {
        stopped: { summary: "Stopped", value: { message: "model stopped" } },
      }),
    },
    RequestInvalid: invalid(
      400,
      "No name, or one that is not valid; a body that is not JSON, or not sent as such.",
      {
        missing: 'the model is missing; send {"model": "NAME"} as application/json',
        empty: 'the model\'s name is empty; send {"model": "NAME"} as application/json',
        long: `the model's name is longer than ${MODEL_NAME.maxLength} characters`,
        control: 'the model\'s name has control characters, got the string "a\\nb"',
        number: '"model" must be a string, got the number 42',
        malformed: 'the body is not valid JSON; send {"model": "NAME"}',
        form: 'a body of type "application/x-www-form-urlencoded" is not read; send it as application/json',
      },
    ),
    TokenMissing: invalid(
      401,
      "No token, or a wrong one: where the server's guard is `bearerAuth`. Another guard may answer otherwise.",
      { token: 'a token is needed: send "Authorization: Bearer TOKEN"' },
      { "WWW-Authenticate": header("Bearer", "How to authenticate.") },
    ),
    HostNotAllowed: invalid(
      403,
      "The `Host` header is none that the server's option `allowedHosts` has. A guard of the server's own may answer 403 " +
        "otherwise.",
      {
        host:
          'the request\'s Host header is not one that this server answers to, got "rebound.example"; call it by a name ' +
          "that its option allowedHosts has, or add this one there",
      },
    ),
    NotForMonitor: wrongMethod("GET, HEAD", "DELETE is not for this path; send GET"),
    NotForShutdown: wrongMethod("POST", "GET is not for this path; send POST"),
    BodyTooLarge: invalid(413, `The body is larger than ${MAX_BODY_BYTES} bytes.`, {
      large: `the body is larger than ${MAX_BODY_BYTES} bytes`,
    }),
    BodyUnreadable: invalid(415, "The body's charset or content coding can't be read.", {
      charset: 'charset "ebcdic" is not read; send UTF-8',
      coding: 'content coding "compress" is not read; send the body as it is, or with gzip',
    }),
    MonitorFailed: failed(
      "The model is not loaded, or nothing answers, or the server failed: `type` tells which.",
      {
        model_not_loaded: NOT_LOADED,
        backend_error:
          "model \"my-model\": its backend's Status call failed (INTERNAL: out of memory), and its process can't be sampled " +
          "(no process of it can be seen on this machine)",
        internal_error: LOOK_UP_FAILED,
      },
    ),
    ShutdownFailed: failed(
      "The model is not loaded, or not stopped, or the server failed: `type` tells which.",
      {
        model_not_loaded: NOT_LOADED,
        model_busy:
          'model "my-model" is still busy after 30000 ms and was not stopped; try again later, or send "force": true to ' +
          "stop it all the same",
        backend_error:
          'model "my-model" can\'t be stopped: no process of it can be seen on this machine; register the model with the ' +
          "pid of one that can, or with a stop hook",
        internal_error: LOOK_UP_FAILED,
      },
    ),
  };
}

const SAMPLE = {
  memory: { total: 734003200, breakdown: { anonymous: 209715200, file: 524288000, shared: 0 } },
  memory_info: { rss: 734003200, vms: 4831838208 },
  memory_percent: 2.85,
  cpu_percent: 37.5,
};

const NOT_LOADED = 'model "my-model" is not loaded';
const LOOK_UP_FAILED = 'the registry failed to look up model "my-model"; the server\'s logger is told why';

function wrongMethod(allow: string, message: string) {
  const description = "What any other method gets on this path, but `OPTIONS`, which is left to the server.";
  return invalid(405, description, { method: message }, { Allow: header(allow, "The methods to send.") });
}

/** The request is wrong: the messages are by the names of their examples. */
function invalid(code: number, description: string, messages: Record<string, string>, headers: object = {}) {
  const examples = Object.entries(messages).map(
    ([name, message]) => [name, errorExample(code, "invalid_request_error", message)] as const,
  );
  return errorResponse(code, description, ["invalid_request_error"], Object.fromEntries(examples), headers);
}

/** The request is sound: the messages are by their types. */
function failed(description: string, messages: Partial<Record<ErrorType, string>>) {
  const examples = Object.entries(messages).map(
    ([type, message]) => [type, errorExample(500, type, message)] as const,
  );
  return errorResponse(500, description, Object.keys(messages), Object.fromEntries(examples));
}

function errorResponse(
  code: number,
  description: string,
  types: string[],
  examples: Record<string, object>,
  headers: object = {},
) {
  // All members are named: there are tools that look at each part of an `allOf` by itself.
  const error = { properties: { code: { const: code }, message: {}, type: { enum: types } } };
  return {
    description,
    headers: { ...CACHE_CONTROL, ...headers },
    content: json({ allOf: [ref("ErrorAnswer"), { properties: { error } }] }, examples),
  };
}

function errorExample(code: number, type: string, message: string) {
  return { value: { error: { code, message, type } } };
}

function json(schema: object, examples: Record<string, object>) {
  return { "application/json": { schema, examples } };
}

function header(value: string, description: string) {
  return { description, required: true, schema: { type: "string", const: value } };
}
