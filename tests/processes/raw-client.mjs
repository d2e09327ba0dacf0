// Speaks `lockdb.v1` without a client: it sends what the test says and nothing else, above all no heartbeats.
import { randomUUID } from "node:crypto";
import WebSocket from "ws";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, service, leaseMs } = given;
const session = randomUUID();
const socket = new WebSocket(`${serverUrl.replace("http", "ws")}/v1/connect`, "lockdb.v1", {
  headers: { authorization: `Bearer ${apiKey}` },
  perMessageDeflate: false,
});
let received = 0;

socket.on("open", () => {
  const owner = `raw:${process.pid}`;
  const hello = { service, client: session, session, connection: 1, resume: false, leaseMs, owner };
  send([["hello", hello], ["sync"]]);
});
socket.on("message", (data) => {
  const atMs = clockMs();
  const messages = JSON.parse(data.toString("utf8"));
  received += messages.length;
  for (const message of messages) notify("message", { message, atMs });
});

serveCalls({ send: ({ messages }) => send(messages) });

/** Gives a moment before the messages left. */
function send(messages) {
  const atMs = clockMs();
  socket.send(JSON.stringify([received, ...messages]));
  return atMs;
}
