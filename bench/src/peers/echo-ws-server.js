import { WebSocketServer } from "ws";
import { batcher } from "./echo-ws-batcher.js";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("listening", () => {
  const address = server.address();
  if (address !== null && typeof address === "object") process.stdout.write(`port ${address.port}\n`);
});
server.on("connection", (socket) => {
  const send = batcher(socket);
  socket.on("error", () => socket.terminate());
  socket.on("message", (data) => {
    for (const message of JSON.parse(data.toString())) send(message);
  });
});

// The parent holds the other end of standard input. When the parent is gone, so are we.
process.stdin.on("end", () => process.exit()).resume();
