// Many readers of server-sent events in one process, and one that stops reading.
import { connect } from "node:net";
import { given, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, service } = given;
const { hostname, port } = new URL(serverUrl);
const AT = Buffer.from('"at":"');
const AT_LENGTH = "2026-11-26T09:00:00.000Z".length;

/** Milliseconds from each event's time of day at the server to its arrival here; both are on one machine. */
let latenciesMs = [];
let closedCount = 0;
const readers = [];
let slow = null;
let slowText = "";

serveCalls({
  /** Of each so many one looks at what it reads: with thousands in one process, looking is what takes the time. */
  async open({ count, prefix, oneOf }) {
    for (let at = 0; at < count; at += 50) {
      const some = Array.from({ length: Math.min(50, count - at) }, (_, of) =>
        openReader(prefix, (at + of) % oneOf === 0),
      );
      readers.push(...(await Promise.all(some)));
    }
  },
  async openSlow() {
    slow = await openReader("", false);
    slow.removeAllListeners("data");
    slow.pause();
  },
  /** What has been counted since the last time. */
  counted() {
    const latencies = latenciesMs;
    latenciesMs = [];
    return { latencies, closedCount };
  },
  /** Reads at last, to the end. */
  async readSlow() {
    slow.on("data", (bytes) => {
      slowText = (slowText + bytes.toString("latin1")).slice(-4_096);
    });
    slow.resume();
    await new Promise((resolve) => (slow.destroyed ? resolve() : slow.once("close", resolve)));
    return slowText;
  },
});

function openReader(prefix, looks) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.write(
        `GET /v1/services/${service}/events?prefix=${encodeURIComponent(prefix)} HTTP/1.1\r\n` +
          `host: x\r\nauthorization: Bearer ${apiKey}\r\n\r\n`,
      );
    });
    socket.on("close", () => closedCount++);
    socket.on("data", (bytes) => {
      resolve(socket);
      if (!looks) return;
      const nowMs = Date.now();
      for (let at = bytes.indexOf(AT); at !== -1; at = bytes.indexOf(AT, at + AT_LENGTH)) {
        const text = bytes.toString("latin1", at + AT.length, at + AT.length + AT_LENGTH);
        // One that is cut by the end of a piece is not counted.
        if (text.length === AT_LENGTH) latenciesMs.push(nowMs - Date.parse(text));
      }
    });
  });
}
