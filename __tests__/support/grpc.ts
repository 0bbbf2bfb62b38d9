import { fileURLToPath } from "node:url";
import {
  type GrpcObject,
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceClientConstructor,
  type ServiceDefinition,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { onTestFinished } from "vitest";

const proto = fileURLToPath(new URL("../../protos/backend.proto", import.meta.url));

/** The protocol as `@grpc/proto-loader` reads it from protos/backend.proto: nothing in it is the package's own. */
export function loadProtocol(): ServiceClientConstructor {
  const definition = loadPackageDefinition(
    loadSync(proto, { longs: String, enums: Number, keepCase: true, defaults: true, oneofs: true }),
  );
  return (definition.backend as GrpcObject).Backend as ServiceClientConstructor;
}

const { service } = loadProtocol();

export type Call = (call: ServerUnaryCall<object, object>, reply: sendUnaryData<object>) => void;
export interface BackendCalls {
  Health?: Call;
  Status?: Call;
  Free?: Call;
}

export interface TestBackend {
  address: string;
  stop(): void;
}

export const replies = (message: object): Call => {
  return (_call, reply) => reply(null, message);
};
export const fails = (code: status, details: string): Call => {
  return (_call, reply) => reply({ code, details });
};
export const neverReplies: Call = () => {};
export const isOk = replies({ message: Buffer.from("OK") });
export const frees = replies({ success: true, message: "" });
export const hasMemory = replies({
  state: 2,
  memory: { total: "300", breakdown: { weights: "200", kv_cache: "100" } },
});

/** A backend whose Status is answered with just these bytes. */
export async function serveBytes(bytes: Uint8Array): Promise<TestBackend> {
  const Status = service.Status;
  if (!Status) throw new Error("protos/backend.proto has no Status");
  return listen(
    { Status: { ...Status, responseSerialize: () => Buffer.from(bytes) } },
    { Status: replies({}) },
  );
}

/** A real gRPC server until the end of the test. A call that it is not given is UNIMPLEMENTED. */
export async function serveBackend(
  calls: BackendCalls,
  target?: string,
  credentials?: ServerCredentials,
): Promise<TestBackend> {
  const unimplemented = fails(status.UNIMPLEMENTED, "Method not implemented!");
  const all = {
    Health: unimplemented,
    Status: unimplemented,
    Free: unimplemented,
    Predict: unimplemented,
    ...calls,
  };
  return listen(service, all, target, credentials);
}

async function listen(
  definition: ServiceDefinition,
  calls: UntypedServiceImplementation,
  target = "127.0.0.1:0",
  credentials = ServerCredentials.createInsecure(),
): Promise<TestBackend> {
  const server = new Server();
  server.addService(definition, calls);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(target, credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const stop = () => server.forceShutdown();
  onTestFinished(stop);
  return { address: target.replace(/:0$/, `:${port}`), stop };
}
