/**
 * Serves calls of LocalAI's backend protocol, on the address that stands behind `--addr` on the command line: in plain text to
 * everybody, unless the environment has a certificate and its key, and a token that each call is to bear.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  type GrpcObject,
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceClientConstructor,
  type sendUnaryData,
  status,
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
  const { BACKEND_TOKEN: token, BACKEND_CERT: cert, BACKEND_KEY: key } = process.env;
  const server = new Server();
  server.addService(loadBackendProtocol().service, token ? guard(calls, token) : calls);
  server.bindAsync(addr, cert && key ? speakTls(cert, key) : ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
    console.log(`listening on ${addr}`);
  });
}

function speakTls(cert: string, key: string): ServerCredentials {
  return ServerCredentials.createSsl(null, [
    { cert_chain: Buffer.from(cert), private_key: Buffer.from(key) },
  ]);
}

type Call = ServerUnaryCall<object, object>;
type Handler = (call: Call, reply: sendUnaryData<object>) => void;

/** Refuses calls that have no such token, as LocalAI's backends do. */
function guard(calls: UntypedServiceImplementation, token: string): UntypedServiceImplementation {
  const guarded = Object.entries(calls).map(([name, handle]): [string, Handler] => [
    name,
    (call, reply) => {
      if (call.metadata.get("authorization")[0] === `Bearer ${token}`)
        return (handle as Handler)(call, reply);
      reply({ code: status.UNAUTHENTICATED, details: "the token is missing or wrong" });
    },
  ]);
  return Object.fromEntries(guarded);
}
