import type { MethodDefinition } from "@grpc/grpc-js";
import {
  decodeReply,
  decodeResult,
  decodeStatusResponse,
  encodeHealthMessage,
  encodeReply,
  encodeResult,
  encodeStatusResponse,
  type Reply,
  type Result,
} from "./messages.js";
import type { BackendStatus } from "./status.js";

/** `HealthMessage` has no fields. */
type HealthMessage = Record<never, never>;

function method<Response>(
  name: string,
  encode: (response: Response) => Uint8Array,
  decode: (bytes: Uint8Array) => Response,
): MethodDefinition<HealthMessage, Response> {
  return {
    path: `/backend.Backend/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: () => Buffer.from(encodeHealthMessage()),
    requestDeserialize: () => ({}),
    responseSerialize: (response) => Buffer.from(encode(response)),
    responseDeserialize: decode,
  };
}

/** The calls of service `backend.Backend` that a monitor makes, in gRPC's form for a service. */
export const backendService = {
  health: method<Reply>("Health", encodeReply, decodeReply),
  status: method<BackendStatus>("Status", encodeStatusResponse, decodeStatusResponse),
  free: method<Result>("Free", encodeResult, decodeResult),
};

export type BackendService = typeof backendService;
