import { fileURLToPath } from "node:url";
import {
  type GrpcObject,
  loadPackageDefinition,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServiceClientConstructor,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

/** The bytes that a backend answers its calls with; what it has none for is UNIMPLEMENTED. */
export interface Replies {
  Status?: Uint8Array | undefined;
  Health?: Uint8Array | undefined;
  Free?: Uint8Array | undefined;
}

/** The protocol as `@grpc/proto-loader` reads it, with the codec of `protobufjs`: nothing in it is the package's own. */
const proto = fileURLToPath(import.meta.resolve("express-backend-monitor/protos/backend.proto"));
const { backend } = loadPackageDefinition(
  loadSync(proto, { longs: String, enums: Number, keepCase: true, defaults: true, oneofs: true }),
);
const { service } = (backend as GrpcObject).Backend as ServiceClientConstructor;

export const protocol = service as unknown as Record<keyof Replies, MethodDefinition<object, object>>;

/** What a sound backend reports, and how it is to arrive. */
export const REPORT = {
  bytes: protocol.Status.responseSerialize({
    state: 2,
    memory: { total: "18446744073709551615", breakdown: { weights: "9007199254740993", "": "0" } },
  }),
  json: '{"state":2,"memory":{"total":18446744073709551615,"breakdown":{"weights":9007199254740993,"":0}}}',
};

export interface Backend {
  address: string;
  stop(): void;
}

/** A real gRPC server, on a free port, whose answers are just these bytes. */
export async function startBackend(repliesNow: () => Replies): Promise<Backend> {
  const names = ["Status", "Health", "Free"] as const;
  const server = new Server();
  server.addService(
    Object.fromEntries(
      names.map((name) => [name, { ...protocol[name], responseSerialize: (bytes: Buffer) => bytes }]),
    ),
    Object.fromEntries(
      names.map((name) => [
        name,
        (_call: unknown, reply: sendUnaryData<Uint8Array>) => {
          const bytes = repliesNow()[name];
          if (bytes) reply(null, Buffer.from(bytes));
          else reply({ code: status.UNIMPLEMENTED, details: "Method not implemented!" });
        },
      ]),
    ),
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { address: `127.0.0.1:${port}`, stop: () => server.forceShutdown() };
}
