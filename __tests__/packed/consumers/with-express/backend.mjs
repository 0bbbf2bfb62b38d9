import { fileURLToPath } from "node:url";
import { loadPackageDefinition, Server, ServerCredentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const proto = fileURLToPath(import.meta.resolve("express-backend-monitor/protos/backend.proto"));
const { backend } = loadPackageDefinition(loadSync(proto, { keepCase: true }));

const server = new Server();
server.addService(backend.Backend.service, {
  Health: (_call, reply) => reply(null, { message: Buffer.from("OK") }),
  Status: (_call, reply) => reply(null, { state: "READY", memory: { total: 7, breakdown: { weights: 7 } } }),
  Free: (_call, reply) => reply(null, { success: true }),
});
const address = process.argv[process.argv.indexOf("--addr") + 1];
server.bindAsync(address, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
