/** Serves calls of LocalAI's backend protocol, on the address that stands behind `--addr` on the command line. */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  type GrpcObject,
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServiceClientConstructor,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export function loadBackendProtocol(): ServiceClientConstructor {
  const file = fileURLToPath(import.meta.resolve("express-backend-monitor/protos/backend.proto"));
  const definition = loadPackageDefinition(loadSync(file, { longs: String, keepCase: true }));
  return (definition.backend as GrpcObject).Backend as ServiceClientConstructor;
}

/** A call that is not among `calls` is answered with UNIMPLEMENTED. */
export function serve(calls: UntypedServiceImplementation): void {
  const { addr } = parseArgs({ options: { addr: { type: "string" } } }).values;
  if (addr === undefined) throw new Error("--addr HOST:PORT is missing");
  const server = new Server();
  server.addService(loadBackendProtocol().service, calls);
  server.bindAsync(addr, ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
    console.log(`listening on ${addr}`);
  });
}
