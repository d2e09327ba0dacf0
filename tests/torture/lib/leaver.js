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
        const said = await (at % NATIVE_EACH === 0 ? native(at) : http(at));
        if (said.includes('"granted"') || said.includes('"token"')) seen.granted++;
        else if (said === "") seen.unheard++;
        else seen.refused++;
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    return seen;
  },
});

function http(at) {
  const body = JSON.stringify({ names: `left/${at % NAMES}/${at}`, leaseMs: LEASE_MS, waitMs: 0 });
  const head = `POST /v1/services/${service}/acquire HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\ncontent-length: ${body.length}\r\n\r\n`;
  return heard(head + body, (text) => /\}$/.test(text));
}

function native(at) {
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
  const frame = Buffer.from(
    JSON.stringify([0, ["hello", hello], ["sync"], ["acquire", 1, `left/${at % NAMES}/${at}`, 0]]),
  );
  // Masked with zeros.
  const head = Buffer.from([0x81, 0x80 | 126, frame.length >> 8, frame.length & 255, 0, 0, 0, 0]);
  return heard(Buffer.concat([Buffer.from(UPGRADE), head, frame]), (text) =>
    /"(granted|refused|ended)"/.test(text),
  );
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
