/** Somebody who tries keys, as fast as he is told to. It needs nothing but Node, so that the tests can have it too. */

import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";

/** Keep-alive connections of each kind, and upgrades at a time. */
const CONNECTIONS = 8;
const TICK_MS = 5;

/**
 * @typedef {object} Flood
 * @property {number} sent
 * @property {number} ms
 * @property {Record<string, Record<number, number>>} answers By kind, how often each status came; 0: none did.
 *
 * @param {{ serverUrl: string, perSecond: number, forMs: number }} options
 * @returns {Promise<Flood>} A third each over HTTP, at the original routes, and as upgrades to the native protocol.
 */
export async function floodWithWrongKeys({ serverUrl, perSecond, forMs }) {
  const { hostname: host, port } = new URL(serverUrl);
  const address = { host, port: Number(port) };
  const kinds = {
    http: () =>
      new KeepAlive(
        address,
        (key) => `GET /v1/self HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`,
      ),
    original: () =>
      new KeepAlive(
        address,
        (key) =>
          `POST /lock HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`,
      ),
    upgrade: () => new Upgrades(address),
  };
  const names = /** @type {(keyof typeof kinds)[]} */ (Object.keys(kinds));
  /** @type {Flood["answers"]} */
  const answers = Object.fromEntries(names.map((name) => [name, {}]));
  const lanes = names.map((name) => Array.from({ length: CONNECTIONS }, () => kinds[name]()));
  const startMs = performance.now();
  let sent = 0;
  const underWay = new Set();
  const say = (/** @type {number} */ at) => {
    const lane = lanes[at].find(({ isFree }) => isFree);
    if (lane === undefined) return false;
    const kind = answers[names[at]];
    const one = lane.tryKey(wrongKey()).then((status) => {
      kind[status] = (kind[status] ?? 0) + 1;
      underWay.delete(one);
    });
    underWay.add(one);
    sent += 1;
    return true;
  };
  for (let ms = 0; ms < forMs; ms = performance.now() - startMs) {
    // Who finds no free connection is late, and tries to catch up.
    for (let due = (ms * perSecond) / 1_000; sent < due && say(sent % names.length); );
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  const ms = performance.now() - startMs;
  await Promise.all(underWay);
  for (const lane of lanes.flat()) lane.close();
  return { sent, ms, answers };
}

const BODY = JSON.stringify({ serviceId: "bench", lockName: "never" });

/** In form a key, and nobody's. */
function wrongKey() {
  const text = createHash("sha256").update(randomBytes(16)).digest("hex");
  return `ldb_${text.slice(0, 10)}_${text.slice(10, 48)}`;
}

/** One connection that is kept, with one request at a time. */
class KeepAlive {
  isFree = true;
  #address;
  #request;
  /** @type {import("node:net").Socket | null} */
  #socket = null;
  /** @type {((status: number) => void) | null} */
  #answered = null;
  #text = "";

  /**
   * @param {{ host: string, port: number }} address
   * @param {(key: string) => string} request
   */
  constructor(address, request) {
    this.#address = address;
    this.#request = request;
  }

  /** @param {string} key */
  tryKey(key) {
    this.isFree = false;
    if (this.#socket === null) this.#socket = this.#open();
    const answer = /** @type {Promise<number>} */ (
      new Promise((resolve) => {
        this.#answered = resolve;
      })
    );
    this.#socket.write(this.#request(key));
    return answer;
  }

  close() {
    this.#socket?.destroy();
  }

  #open() {
    const socket = connect({ ...this.#address, noDelay: true });
    socket.setEncoding("latin1").on("data", (chunk) => {
      this.#text += chunk;
      const end = this.#text.indexOf("\r\n\r\n");
      const length = Number(/content-length: (\d+)/i.exec(this.#text)?.[1]);
      if (end === -1 || this.#text.length < end + 4 + length) return;
      this.#done(Number(this.#text.slice(9, 12)));
    });
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#socket = null;
      this.#done(0);
    });
    return socket;
  }

  /** @param {number} status */
  #done(status) {
    const answered = this.#answered;
    this.#answered = null;
    this.#text = "";
    this.isFree = true;
    answered?.(status);
  }
}

/** An upgrade with each key, on a connection of its own, as it is refused. */
class Upgrades {
  isFree = true;
  #address;

  /** @param {{ host: string, port: number }} address */
  constructor(address) {
    this.#address = address;
  }

  /** @param {string} key */
  tryKey(key) {
    this.isFree = false;
    return /** @type {Promise<number>} */ (
      new Promise((resolve) => {
        const socket = connect({ ...this.#address, noDelay: true });
        let text = "";
        socket.on("error", () => {});
        socket.setEncoding("latin1").on("data", (chunk) => {
          text += chunk;
        });
        socket.once("connect", () => {
          socket.write(
            "GET /v1/connect HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n" +
              `sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: lockdb.v1\r\nauthorization: Bearer ${key}\r\n\r\n`,
          );
        });
        socket.once("close", () => {
          this.isFree = true;
          resolve(Number(text.slice(9, 12)));
        });
      })
    );
  }

  close() {}
}
