// Speaks `lockdb.v1` and HTTP/1.1 without a client: it sends what it is told and nothing else, and writes down what comes.
import { randomUUID } from "node:crypto";
import { connect } from "node:net";
import WebSocket from "ws";
import { clockMs, ROOT_KEY } from "./stage.js";

/** A native session that is open. */
export class RawSession {
  /** @type {any[][]} */
  messages = [];
  /** When it was over; null: it is not. */
  endedMs = null;
  #socket;
  #received = 0;
  #onMessage = () => {};

  /** @returns {Promise<RawSession>} */
  static async open(url, service, { key = ROOT_KEY, leaseMs = 60_000 } = {}) {
    const session = new RawSession(url, key);
    await new Promise((resolve, reject) => {
      session.#socket.once("open", resolve);
      session.#socket.once("close", () => reject(new Error(`${url} does not take a session`)));
    });
    const id = randomUUID();
    const hello = { service, client: id, session: id, connection: 1, resume: false, leaseMs, owner: "raw" };
    session.send(["hello", hello], ["sync"]);
    await session.next(([kind]) => kind === "welcome");
    return session;
  }

  constructor(url, key) {
    this.#socket = new WebSocket(`${url.replace("http", "ws")}/v1/connect`, "lockdb.v1", {
      headers: { authorization: `Bearer ${key}` },
      perMessageDeflate: false,
    });
    this.#socket.on("message", (data) => {
      const messages = JSON.parse(data.toString("utf8"));
      this.#received += messages.length;
      this.messages.push(...messages);
      if (messages.some(([kind]) => kind === "ended" || kind === "moved")) this.endedMs ??= clockMs();
      this.#onMessage();
    });
    this.#socket.on("close", () => {
      this.endedMs ??= clockMs();
      this.#onMessage();
    });
    this.#socket.on("error", () => {});
  }

  /** One frame. */
  send(...messages) {
    this.#socket.send(JSON.stringify([this.#received, ...messages]));
  }

  /** The first message that fits, also of those that have come. */
  async next(fits) {
    for (;;) {
      const found = this.messages.find(fits);
      if (found !== undefined) return found;
      if (this.endedMs !== null)
        throw new Error(`the session ended: ${JSON.stringify(this.messages.at(-1))}`);
      await new Promise((resolve) => {
        this.#onMessage = () => resolve(undefined);
      });
    }
  }

  close() {
    this.#socket.terminate();
  }
}

/** A connection that requests are written to one behind the other. */
export class RawHttp {
  #socket;
  #text = "";

  /** @returns {Promise<RawHttp>} */
  static async open(url) {
    const http = new RawHttp(url);
    await new Promise((resolve, reject) => {
      http.#socket.once("connect", resolve);
      http.#socket.once("error", reject);
    });
    return http;
  }

  constructor(url) {
    const { hostname, port } = new URL(url);
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.#socket.setEncoding("latin1");
    this.#socket.on("data", (text) => {
      this.#text += text;
    });
    this.#socket.on("error", () => {});
  }

  post(path, body) {
    const text = JSON.stringify(body);
    const head = [
      `POST ${path} HTTP/1.1`,
      "host: lockdb",
      `authorization: Bearer ${ROOT_KEY}`,
      "content-type: application/json",
      `content-length: ${Buffer.byteLength(text)}`,
    ];
    this.#socket.write(`${head.join("\r\n")}\r\n\r\n${text}`);
  }

  /** Status and body of each answer, in the order of the requests. */
  answers() {
    return this.#text
      .split(/(?=HTTP\/1\.1 \d{3} )/)
      .filter((part) => part.startsWith("HTTP/1.1 "))
      .map((part) => ({
        status: Number(part.slice(9, 12)),
        body: part.slice(part.indexOf("\r\n\r\n") + 4),
      }));
  }

  close() {
    this.#socket.destroy();
  }
}
