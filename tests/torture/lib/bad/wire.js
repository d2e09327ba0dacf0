// Sends bytes and hears what comes, on connections of HTTP/1.1 and of the native protocol, without a client that would mend anything.
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { encoded, IDS_A_FRAME, wsFrame } from "./messages.js";

/** More than that is a hang, unless it is the machine that has other things to do. */
export const HANG_MS = 1_000;
export const LATE = "no answer in time";
/** Who asked for an answer that takes its time hangs up. */
const PATIENCE_MS = 40;
const ODD_PATIENCE_MS = 30;
/** Refused before all of it was read: the refusal may be lost with the connection. */
const MAY_BE_CUT_BYTES = 16_000;
const NO_BODY = [204, 304];

/** One request after the other, on one connection for as long as it lasts. */
export class HttpWire {
  #port;
  /** @type {import("node:net").Socket | null} */
  #socket = null;

  #hangMs;

  /** @param {number} port @param {number} [hangMs] how long it waits for an answer that should come at once */
  constructor(port, hangMs = HANG_MS) {
    this.#port = port;
    this.#hangMs = hangMs;
  }

  /** @returns {Promise<{ status: number, problem: string | null }>} */
  async ask(input) {
    const isNew = !(input.isWhole && this.#socket !== null && !this.#socket.destroyed);
    const first = await this.#once(input);
    // An idle connection may be closed just then: that is no answer to this.
    const again = !isNew && first.problem?.startsWith("closed") ? await this.#once(input) : first;
    if (again.problem !== null) this.close();
    return again;
  }

  close() {
    this.#socket?.destroy();
    this.#socket = null;
  }

  async #once({ bytes, isWhole, mayWait, isHead }) {
    const isKept = isWhole && this.#socket !== null && !this.#socket.destroyed;
    const socket = isKept
      ? /** @type {import("node:net").Socket} */ (this.#socket)
      : await opened(this.#port);
    if (isWhole && !isKept) {
      this.close();
      this.#socket = socket;
    }
    const heard = hearing(socket, isHead);
    socket.write(bytes);
    if (!isWhole) socket.end();
    const got = await Promise.race([
      heard.done,
      pause(mayWait || !isWhole ? PATIENCE_MS : this.#hangMs, null),
    ]);
    // What is no whole request may be waited for; but when nothing more can come, it has to be over.
    const late =
      got === null && !isWhole && !mayWait
        ? await Promise.race([heard.done, pause(this.#hangMs, null)])
        : got;
    heard.stop();
    const { status = 0, body = "", isReusable = false, isTooMuch = false } = late ?? {};
    if (!isReusable || !isWhole) socket.destroy();
    const isSilent = late === null && !mayWait;
    return {
      status,
      problem: problemOf({ status, body, isTooMuch, isSilent, isWhole, mayWait, length: bytes.length }),
    };
  }
}

function problemOf({ status, body, isTooMuch, isSilent, isWhole, mayWait, length }) {
  if (isSilent) return LATE;
  if (status === 500 || body.includes('"INTERNAL"') || body.includes("\n    at "))
    return `answered ${status}: ${body.slice(0, 300)}`;
  if (isTooMuch && isWhole) return "more than one answer";
  if (status === 0 && isWhole && !mayWait && length < MAY_BE_CUT_BYTES) return "closed without an answer";
  return null;
}

/** What comes on a connection, up to the end of an answer. */
function hearing(socket, isHead) {
  let heard = Buffer.alloc(0);
  /** @type {(answer: object) => void} */
  let resolve;
  const done = new Promise((settle) => {
    resolve = settle;
  });
  const look = () => {
    const headEnd = heard.indexOf("\r\n\r\n");
    if (headEnd < 0) return;
    const head = heard.subarray(0, headEnd).toString("latin1");
    const status = Number(head.slice(9, 12));
    if (status === 100) {
      heard = heard.subarray(headEnd + 4);
      return look();
    }
    const declared = /\r\ncontent-length: *(\d+)/i.exec(head);
    const isBare = isHead || NO_BODY.includes(status);
    const length = isBare ? 0 : Number(declared?.[1] ?? Number.NaN);
    const body = heard.subarray(headEnd + 4);
    if (body.length < length) return;
    const isClosing = /\r\nconnection: *close/i.test(head) || status === 101;
    const isTooMuch = body.length > length && !isClosing;
    const isReusable = !Number.isNaN(length) && !isTooMuch && !isClosing;
    resolve({ status, body: body.subarray(0, 2_000).toString("utf8"), isReusable, isTooMuch });
  };
  const onData = (/** @type {Buffer} */ data) => {
    heard = heard.length === 0 ? data : Buffer.concat([heard, data]);
    look();
  };
  const onClose = () => resolve({});
  socket.on("data", onData).on("close", onClose);
  return { done, stop: () => socket.off("data", onData).off("close", onClose) };
}

/** One native connection with what is said on it. @returns {Promise<{ frames: number, problem: string | null }>} */
export async function converse(port, key, frames, hangMs = HANG_MS) {
  const socket = await opened(port);
  const ears = new NativeEars(socket);
  socket.write(
    `GET /v1/connect HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n` +
      `sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: lockdb.v1\r\nauthorization: Bearer ${key}\r\n\r\n`,
  );
  let sent = 0;
  try {
    if (!(await ears.until(() => ears.isOpen, hangMs)))
      return { frames: sent, problem: ears.isOver ? null : LATE };
    for (const frame of frames) {
      sent++;
      socket.write(encoded(frame, ears.received, ears.token));
      if (frame.kind === "bytes") {
        await ears.until(() => false, ODD_PATIENCE_MS);
        break;
      }
      const id = sent * IDS_A_FRAME + IDS_A_FRAME - 1;
      socket.write(wsFrame(Buffer.from(`[${ears.received},["heartbeat",${id}]]`)));
      const isAnswered = await ears.until(() => ears.answered >= id, hangMs);
      if (ears.problem !== null) break;
      if (!isAnswered && !ears.isOver) return { frames: sent, problem: LATE };
      if (ears.isOver) break;
    }
    return { frames: sent, problem: ears.problem };
  } finally {
    socket.destroy();
  }
}

class NativeEars {
  isOpen = false;
  /** Closed, or the other side has said that it is to be. */
  isOver = false;
  received = 0;
  token = 1;
  /** Highest id that was answered. */
  answered = 0;
  /** @type {string | null} */
  problem = null;
  #heard = Buffer.alloc(0);
  #look = () => {};

  constructor(socket) {
    socket.on("data", (data) => {
      this.#heard = Buffer.concat([this.#heard, data]);
      this.#read();
      this.#look();
    });
    socket.on("close", () => {
      this.isOver = true;
      this.#look();
    });
  }

  /** @returns {Promise<boolean>} whether it came to be so, in time */
  until(isSo, withinMs) {
    if (isSo()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const done = (is) => {
        clearTimeout(timer);
        this.#look = () => {};
        resolve(is);
      };
      const timer = globalThis.setTimeout(() => done(false), withinMs);
      this.#look = () => {
        if (isSo()) done(true);
        else if (this.isOver || this.problem !== null) done(false);
      };
      this.#look();
    });
  }

  #read() {
    if (!this.isOpen) {
      const end = this.#heard.indexOf("\r\n\r\n");
      if (end < 0) return;
      if (!this.#heard.subarray(0, 12).equals(Buffer.from("HTTP/1.1 101"))) {
        this.isOver = true;
        return;
      }
      this.isOpen = true;
      this.#heard = this.#heard.subarray(end + 4);
    }
    while (this.#heard.length >= 2) {
      const short = this.#heard[1] & 127;
      const at = short === 126 ? 4 : short === 127 ? 10 : 2;
      if (this.#heard.length < at) return;
      const length =
        short === 126
          ? this.#heard.readUInt16BE(2)
          : short === 127
            ? Number(this.#heard.readBigUInt64BE(2))
            : short;
      if (this.#heard.length < at + length) return;
      const payload = this.#heard.subarray(at, at + length);
      if ((this.#heard[0] & 15) === 8) this.isOver = true;
      if ((this.#heard[0] & 15) === 1) this.#take(JSON.parse(payload.toString("utf8")));
      this.#heard = this.#heard.subarray(at + length);
    }
  }

  #take(messages) {
    this.received += messages.length;
    for (const [kind, id, third] of messages) {
      if (kind === "granted") this.token = third;
      if (Number.isSafeInteger(id)) this.answered = Math.max(this.answered, id);
      const text = JSON.stringify([kind, id, third]);
      if (/INTERNAL|by a mistake in LockDB/.test(text)) this.problem = `told ${text.slice(0, 300)}`;
    }
  }
}

/** @returns {Promise<import("node:net").Socket>} @throws when nobody listens there any more */
function opened(port) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    socket.once("connect", () => resolve(socket)).once("error", reject);
    socket.on("error", () => {});
  });
}
