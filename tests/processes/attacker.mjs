// Does what nobody should to a server's port, from a process of its own.
import { connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import { given, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, service } = given;
const { hostname, port } = new URL(serverUrl);
const PATH = `/v1/services/${service}/acquire`;
const HEAD = `POST ${PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\n`;

const kept = [];
let isOver = false;
/** How often each status was answered; 0: the connection was closed without one. */
const answers = {};

const deep = (levels) => `{"names":"a","metadata":${"[".repeat(levels)}${"]".repeat(levels)}}`;
const whole = (body, more = "") => `${HEAD}${more}content-length: ${body.length}\r\n\r\n${body}`;

const ATTACKS = [
  () =>
    `${HEAD}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${whole('{"names":"hidden"}')}`,
  () => `${HEAD}content-length: 0\r\ncontent-length: 9\r\n\r\n`,
  () => `${HEAD}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n`,
  () => `${HEAD}transfer-encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n`,
  () => `GET /v1/services/${service}/locks/${"x".repeat(1_024 * 1_024)} HTTP/1.1\r\nhost: x\r\n\r\n`,
  () => whole(JSON.stringify({ names: "x".repeat(1_024 * 1_024) })),
  () => whole(deep(100_000)),
  () => whole(deep(32_000)),
  () => whole('{"names":"a","names":"b"}'),
  () =>
    whole(
      `{"names":"a","metadata":{${Array.from({ length: 4_000 }, (_, at) => `"${at * 65_536}":1`).join()}}}`,
    ),
  () => "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001",
  () => whole('{"names":"a"}').replace(apiKey, "wrong-key-wrong-key"),
  () => whole("\u0000\u00ff\u00fe"),
  () => `${HEAD}${Array.from({ length: 3_000 }, (_, at) => `x-${at}: y\r\n`).join("")}\r\n`,
];

// Made once: the attacker is not to be what takes the processor from everybody.
const BYTES = ATTACKS.map((attack) => Buffer.from(attack(), "latin1"));

serveCalls({
  /** Connections that say nothing. */
  async idle({ count }) {
    for (let at = 0; at < count; at += 100) {
      await Promise.all(Array.from({ length: Math.min(100, count - at) }, () => opened()));
    }
    return kept.length;
  },
  /** Requests whose headers, or whose bodies, come a byte at a time. */
  async slow({ count }) {
    for (let at = 0; at < count; at++) {
      const socket = await opened();
      const bytes =
        at % 2 === 0 ? HEAD : `${HEAD}content-length: 60000\r\n\r\n{"names":"${"x".repeat(60_000)}`;
      if (at % 2 === 1) socket.write(`${HEAD}content-length: 60000\r\n\r\n`);
      let sent = at % 2 === 0 ? 0 : bytes.length - 60_000;
      const drip = setInterval(() => {
        if (socket.destroyed || isOver) clearInterval(drip);
        else socket.write(bytes[sent++ % bytes.length]);
      }, 500);
    }
  },
  /** One attack after the other, so many a second, until `stop`. */
  async attack({ perSecond }) {
    const startedMs = performance.now();
    let count = 0;
    const underWay = new Set();
    while (!isOver) {
      const one = once(BYTES[count % BYTES.length]).finally(() => underWay.delete(one));
      underWay.add(one);
      count++;
      await setTimeout(Math.max(0, startedMs + (count * 1_000) / perSecond - performance.now()));
    }
    await Promise.all(underWay);
    return { count, answers };
  },
  stop() {
    isOver = true;
  },
  /** How many of the connections that say nothing, or little, the server still keeps. */
  keptCount: () => kept.filter((socket) => !socket.destroyed).length,
});

function opened() {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) });
    socket.once("connect", () => resolve(socket)).once("error", reject);
    socket.on("error", () => {}).resume();
    kept.push(socket);
  });
}

/** One connection with these bytes, to its end or an answer. */
function once(bytes) {
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port) });
    let status = 0;
    socket.on("error", () => {});
    socket.on("close", () => {
      answers[status] = (answers[status] ?? 0) + 1;
      resolve();
    });
    socket.once("connect", () => socket.write(bytes));
    socket.once("data", (data) => {
      status = Number(/^HTTP\/1\.1 (\d+)/.exec(data.toString("latin1"))?.[1] ?? 0);
      socket.destroy();
    });
  });
}
