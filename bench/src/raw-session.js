import { randomUUID } from "node:crypto";
import { WebSocket } from "ws";

const SERVICE = "bench";
/** So that a frame stays below the 64 KiB from which the server measures each of its messages. */
const MESSAGES_A_FRAME = 1_000;

/**
 * A session of LockDB in the raw protocol (docs/protocol.md): what it costs is the server's cost, and not the client's. It
 * sends the messages of a turn in one frame, acknowledges, and renews itself.
 */
export class RawSession {
  /** Messages that have arrived. */
  received = 0;
  /** Of these, answers to heartbeats. */
  renewed = 0;
  #socket;
  /** @type {unknown[]} */
  #outgoing = [];
  #idLast = 0;
  /** @type {Map<number, (message: any) => void>} */
  #callers = new Map();
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heartbeats;

  /** @param {WebSocket} socket */
  constructor(socket) {
    this.#socket = socket;
  }

  /**
   * @param {{ serverUrl: string, apiKey: string }} endpoint
   * @param {{ leaseMs?: number }} [options]
   */
  static async open({ serverUrl, apiKey }, { leaseMs = 10_000 } = {}) {
    const socket = new WebSocket(`${serverUrl.replace("http", "ws")}/v1/connect`, "lockdb.v1", {
      headers: { authorization: `Bearer ${apiKey}` },
      perMessageDeflate: false,
      maxPayload: 64 * 2 ** 20,
    });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    const session = new RawSession(socket);
    await session.#welcome(leaseMs);
    return session;
  }

  /** @param {number} leaseMs */
  #welcome(leaseMs) {
    const hello = {
      service: SERVICE,
      client: randomUUID(),
      session: randomUUID(),
      connection: 1,
      resume: false,
      leaseMs,
      owner: "bench",
    };
    return new Promise((resolve, reject) => {
      this.#socket.on("error", reject);
      this.#socket.on("close", () => reject(new Error("the server closed the connection")));
      this.#socket.on("message", (data) => {
        for (const message of JSON.parse(data.toString())) {
          this.received += 1;
          if (message[0] === "welcome") resolve(undefined);
          else this.#take(message);
        }
      });
      this.say(["hello", hello]);
      this.say(["sync"]);
      const everyMs = leaseMs / 3;
      // Not all at once: as if they had been opened over that time.
      this.#heartbeats = setTimeout(() => {
        void this.heartbeat();
        this.#heartbeats = setInterval(() => void this.heartbeat(), everyMs);
      }, Math.random() * everyMs);
    });
  }

  /** @param {any[]} message */
  #take(message) {
    const [kind, id] = message;
    if (kind === "queued") return this.onQueued?.(message);
    if (kind === "granted" || kind === "done" || kind === "refused") {
      const caller = this.#callers.get(id);
      this.#callers.delete(id);
      return caller?.(message);
    }
    this.onOther?.(message);
  }

  /** @type {((message: any[]) => void) | undefined} */
  onQueued;
  /** `lost`, `ended`, `error`. @type {((message: any[]) => void) | undefined} */
  onOther;

  /** @param {unknown[]} message */
  say(message) {
    if (this.#outgoing.push(message) === 1) setImmediate(() => this.#flush());
  }

  #flush() {
    const messages = this.#outgoing;
    this.#outgoing = [];
    for (let at = 0; at < messages.length; at += MESSAGES_A_FRAME) {
      const part = messages.length <= MESSAGES_A_FRAME ? messages : messages.slice(at, at + MESSAGES_A_FRAME);
      if (this.#socket.readyState === WebSocket.OPEN)
        this.#socket.send(JSON.stringify([this.received, ...part]));
    }
  }

  /**
   * Sends a request and calls back with its answer.
   *
   * @param {string} kind
   * @param {readonly unknown[]} rest
   * @param {(message: any) => void} answered
   */
  request(kind, rest, answered) {
    this.#idLast += 1;
    this.#callers.set(this.#idLast, answered);
    this.say([kind, this.#idLast, ...rest]);
  }

  /**
   * @param {string} kind
   * @param {...unknown} rest
   * @returns {Promise<any>} Its answer; rejects when it is a refusal.
   */
  ask(kind, ...rest) {
    return new Promise((resolve, reject) => {
      this.request(kind, rest, (message) => {
        if (message[0] === "refused") reject(new Error(`${kind} was refused: ${message[2]} ${message[3]}`));
        else resolve(message);
      });
    });
  }

  async heartbeat() {
    await this.ask("heartbeat");
    this.renewed += 1;
  }

  /** Says nothing any more, as a process that stands still: the session ends when its lease is over. */
  fallSilent() {
    clearInterval(this.#heartbeats);
  }

  close() {
    clearInterval(this.#heartbeats);
    this.#socket.removeAllListeners("close");
    this.#socket.terminate();
  }
}

/**
 * Takes locks, some thousands on their way at a time, and keeps nothing of them.
 *
 * @param {RawSession} session
 * @param {number} count
 * @param {(index: number) => string} nameOf
 */
export async function holdMany(session, count, nameOf) {
  const AT_ONCE = 5_000;
  for (let at = 0; at < count; at += AT_ONCE) {
    const asked = [];
    for (let index = at; index < Math.min(count, at + AT_ONCE); index += 1) {
      asked.push(session.ask("acquire", nameOf(index), 0));
    }
    await Promise.all(asked);
  }
}
