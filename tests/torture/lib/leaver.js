// Connects, locks, and leaves without a word, as often as it goes.
import { connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import { given, serveCalls } from "../../processes/mailbox.mjs";

const { port, apiKey, service, lanes } = given;
/** One in so many is a native session, the others ask over HTTP. */
const NATIVE_EACH = 2;
const NAMES = 500;
const LEASE_MS = 1_000;
const UPGRADE =
  `GET /v1/connect HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n` +
  `sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: lockdb.v1\r\nauthorization: Bearer ${apiKey}\r\n\r\n`;
let number = 0;

serveCalls({
  /** So many cycles, one each `everyMs` at most; 0: as fast as it goes. Gives how many were granted, and how many were not heard. */
  leave: async ({ count, everyMs }) => {
    let left = count;
    const startedMs = performance.now();
    const seen = { granted: 0, refused: 0, unheard: 0 };
    const lane = async () => {
      while (left-- > 0) {
        const at = number++;
        const restMs = startedMs + (count - left - 1) * everyMs - performance.now();
        if (restMs > 0) await setTimeout(restMs);
        seen[await (at % NATIVE_EACH === 0 ? native(at) : http(at))]++;
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    return seen;
  },
});

/** Nobody else asks for it. */
const nameOf = (at) => `left/${at % NAMES}/${process.pid}-${at}`;

async function http(at) {
  const body = JSON.stringify({ names: nameOf(at), leaseMs: LEASE_MS, waitMs: 0 });
  const head = `POST /v1/services/${service}/acquire HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\ncontent-length: ${body.length}\r\n\r\n`;
  const said = await heard(head + body, (text) => /\}$/.test(text));
  return outcomeOf(said, (text) => text.startsWith("HTTP/1.1 200 ") && /\{"token":\d/.test(text));
}

async function native(at) {
  const id = `leaver-${at}-${process.pid}`;
  const hello = {
    service,
    client: id,
    session: id,
    connection: 1,
    resume: false,
    leaseMs: LEASE_MS,
    owner: "leaver",
  };
  const frame = Buffer.from(JSON.stringify([0, ["hello", hello], ["sync"], ["acquire", 1, nameOf(at), 0]]));
  // Masked with zeros.
  const head = Buffer.from([0x81, 0x80 | 126, frame.length >> 8, frame.length & 255, 0, 0, 0, 0]);
  const bytes = Buffer.concat([Buffer.from(UPGRADE), head, frame]);
  const said = await heard(bytes, (text) => /"(granted|refused|ended)"/.test(text));
  return outcomeOf(said, (text) => text.includes('["granted",1,'));
}

/** A refusal says who holds the lock, with his token: only a grant is one. */
function outcomeOf(said, isGrant) {
  if (said === "") return "unheard";
  return isGrant(said) ? "granted" : "refused";
}

/** What came on a connection of its own until it was enough; then it is closed, or reset. */
function heard(bytes, isEnough) {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ port, host: "127.0.0.1" });
    socket.setEncoding("latin1");
    socket.on("connect", () => socket.write(bytes));
    socket.on("data", (more) => {
      text += more;
      if (!isEnough(text)) return;
      if (number % 2 === 0) socket.destroy();
      else socket.resetAndDestroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
  });
}
