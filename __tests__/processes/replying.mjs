// Sends the bytes of its first argument, in hexadecimal, to whoever connects and says something. Listens at a free port of
// 127.0.0.1, and prints it.
import { createServer } from "node:net";

const reply = Buffer.from(process.argv[2] ?? "", "hex");
const server = createServer((socket) => {
  socket.on("error", () => {});
  socket.on("data", () => socket.write(reply));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
