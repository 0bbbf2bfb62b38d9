import type { ErrorType } from "../errors.js";
import { MODEL_NAME, MONITOR_REQUEST, SHUTDOWN_REQUEST } from "../request.js";

const BYTES = { type: "integer", format: "uint64", minimum: 0 };
const BYTES_OR_NULL = { ...BYTES, type: ["integer", "null"] };
const PERCENT_OR_NULL = { type: ["number", "null"], minimum: 0 };

/** By name, so that none can be missing. */
const ERROR_TYPES: Record<ErrorType, string> = {
  invalid_request_error: "the request is wrong; nothing was looked up, called or stopped",
  model_not_loaded: "the registry does not know the model",
  model_busy: "the model was still busy after the drain time; nothing was stopped",
  backend_error: "neither the backend nor the operating system answers, or the process could not be stopped",
  internal_error: "the registry itself failed, or something unforeseen happened",
};

export function ref(schema: string) {
  return { $ref: `#/components/schemas/${schema}` };
}

/** What a request may have is what the router itself checks. */
export function schemas(): Record<string, object> {
  return {
    ModelName: {
      ...MODEL_NAME,
      description:
        `What a model is called: 1 to ${MODEL_NAME.maxLength} characters, none of them a control character. It is taken ` +
        "exactly as it is: never trimmed, lower-cased or given a suffix.",
      examples: ["my-model", "org/model:7b", "模型.gguf"],
    },
    MonitorRequest: {
      ...MONITOR_REQUEST,
      description:
        "What the body of a GET may be, where the query has no `model`. Other members are ignored.",
      properties: { model: ref("ModelName") },
      examples: [{ model: "my-model" }],
    },
    ShutdownRequest: {
      ...SHUTDOWN_REQUEST,
      description: "Other members are ignored. Nothing is coerced.",
      properties: {
        model: ref("ModelName"),
        force: {
          ...SHUTDOWN_REQUEST.properties.force,
          description:
            "Stop the model at once: neither wait until it is idle nor have it free its memory before. By default, it is not.",
        },
      },
      examples: [{ model: "my-model" }, { model: "my-model", force: true }],
    },

    MonitorAnswer: {
      description:
        "The first of these that can be had. A figure that the operating system does not give is `null`.",
      oneOf: [ref("ReportedStatus"), ref("SampledStatus"), ref("FallbackStatus")],
    },
    ReportedStatus: {
      ...exactly({ state: ref("BackendState"), memory: ref("ReportedMemory") }),
      description: "The backend's own `Status`, with the memory that it reports.",
    },
    SampledStatus: {
      ...exactly({ state: ref("BackendState"), ...sample() }),
      description:
        "The backend's `Status` reports no memory: `state` is its own, the rest is what the operating system tells.",
    },
    FallbackStatus: {
      ...exactly({
        state: {
          type: "integer",
          enum: [-1, 2],
          description:
            "`-1`, or `2` where the backend has no `Status` (`UNIMPLEMENTED`) but says that it is healthy.",
        },
        ...sample(),
        status_error: ref("StatusError"),
      }),
      description:
        "The backend's `Status` fails, as that of most backends does: the figures are what the operating system tells.",
    },
    BackendState: {
      type: "integer",
      description:
        "`0` uninitialized, `1` busy, `2` ready, `-1` error. Another one that a backend reports is passed on.",
      examples: [2],
    },
    ReportedMemory: {
      ...exactly({
        total: BYTES,
        breakdown: {
          type: "object",
          additionalProperties: BYTES,
          description: "The parts of it, by the names that the backend gives them: any strings.",
        },
      }),
      description:
        "Bytes that the backend says it holds: exact integers over the whole range of a `uint64`, so that " +
        "18446744073709551615 comes as these twenty digits. Beware of JSON parsers that round what is over 2^53.",
    },
    SampledMemory: {
      ...exactly({
        total: { ...BYTES_OR_NULL, description: "The same as `memory_info.rss`." },
        breakdown: {
          type: "object",
          additionalProperties: false,
          properties: {
            anonymous: BYTES,
            file: {
              ...BYTES,
              description: "Mapped files: the weights of a model that is mapped into memory.",
            },
            shared: BYTES,
            rss: { ...BYTES, description: "All of it, on systems that do not tell the other parts." },
          },
          description: "The parts of it. They add up to `total`.",
        },
      }),
      description: "Bytes in memory, summed over the backend's process and all its descendants.",
    },
    MemoryInfo: {
      ...exactly({
        rss: { ...BYTES_OR_NULL, description: "Bytes in memory." },
        vms: { ...BYTES_OR_NULL, description: "Bytes of address space." },
      }),
      description: "Summed over the backend's process and all its descendants.",
    },
    StatusError: {
      ...exactly({
        code: {
          type: "string",
          description: "The name of gRPC's status.",
          examples: ["UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"],
        },
        message: { type: "string", description: "What was said." },
      }),
      description: "Why the backend's `Status` failed.",
    },

    ShutdownAnswer: {
      ...exactly({ message: { type: "string", const: "model stopped" } }),
      description:
        "Every process of the backend is gone, its port is free, and the registry does not list the model any more.",
    },
    ErrorAnswer: exactly({
      error: exactly({
        code: { type: "integer", description: "The HTTP status." },
        message: {
          type: "string",
          description: "What is wrong, and what to send instead. Written for a person.",
        },
        type: {
          type: "string",
          enum: Object.keys(ERROR_TYPES),
          description: Object.entries(ERROR_TYPES)
            .map(([type, meaning]) => `- \`${type}\`: ${meaning}`)
            .join("\n"),
        },
      }),
    }),
  };
}

/** An object that has all of these members, and no others. */
function exactly(properties: Record<string, object>) {
  return { type: "object", required: Object.keys(properties), properties, additionalProperties: false };
}

/** The members of an answer that the operating system gives. */
function sample() {
  return {
    memory: ref("SampledMemory"),
    memory_info: ref("MemoryInfo"),
    memory_percent: {
      ...PERCENT_OR_NULL,
      description: "`rss` as a percentage of the machine's physical memory.",
    },
    cpu_percent: {
      ...PERCENT_OR_NULL,
      description:
        "100 is one core fully used, so that 8 busy threads are 800: over the time since the model's last sample, or since " +
        "its process started, summed over its descendants.",
    },
  };
}
