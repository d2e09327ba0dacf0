import { isUtf8 } from "node:buffer";

/** RFC 6455, section 11.8. */
export const OPCODES = {
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
} as const;

/** RFC 6455, section 7.4.1. */
export const STATUS = {
  protocolError: 1002,
  none: 1005,
  abnormal: 1006,
  notUtf8: 1007,
  tooBig: 1009,
} as const;

const FIN = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;
const MASK_BYTES = 4;
const HEAD_BYTES_MAX = 10 + MASK_BYTES;
const CONTROL_BYTES_MAX = 125;

/** What comes of frames, in order. */
export interface FrameEvents {
  /**
   * A whole message, of one frame or of several.
   * @param text null: it is binary
   */
  message(text: string | null, bytes: number): void;
  ping(payload: Uint8Array): void;
  /** The last that is read. @param status 1005: it says none */
  close(status: number): void;
}

/** Reads the frames of a WebSocket's client (RFC 6455, section 5), however they are cut into pieces on their way. */
export class FrameReader {
  readonly #bytesMax: number;
  readonly #events: FrameEvents;
  /** The beginning of a frame whose end has not come. */
  readonly #rest: Pieces;
  /** What has come of a message of several frames, and its opcode; 0: there is none. */
  readonly #message: Pieces;
  #kind = 0;
  #isOver = false;
  #breach: number | null = null;

  /** @param bytesMax of a message */
  constructor(bytesMax: number, events: FrameEvents) {
    this.#bytesMax = bytesMax;
    this.#rest = new Pieces(bytesMax + HEAD_BYTES_MAX);
    this.#message = new Pieces(bytesMax);
    this.#events = events;
  }

  /**
   * Reads what has come. Behind a close or a breach of the protocol nothing is read any more.
   * @param chunk is written to: it is unmasked where it lies
   * @returns the status that says what was wrong with it, or null
   */
  read(chunk: Buffer): number | null {
    if (this.#isOver) return null;
    const bytes = this.#rest.length === 0 ? chunk : this.#rest.add(chunk);
    let at = 0;
    for (let end = this.#take(bytes, at); end > 0; end = this.#take(bytes, at)) at = end;
    if (this.#isOver || at === bytes.length) this.#rest.clear();
    else if (bytes === chunk) this.#rest.add(chunk.subarray(at));
    else if (at > 0) this.#rest.drop(at);
    return this.#breach;
  }

  /** Takes the frame that begins there. @returns where it ends; 0: no frame is taken */
  #take(bytes: Buffer, at: number): number {
    const left = bytes.length - at;
    if (left < 2 || this.#isOver) return 0;
    const first = bytes[at]!;
    const second = bytes[at + 1]!;
    if (!this.#mayBegin(first, second)) return this.#break(STATUS.protocolError);
    let length = second & ~MASKED;
    let headBytes = 2 + MASK_BYTES;
    if (length === 126) {
      headBytes += 2;
      if (left < headBytes) return 0;
      length = bytes.readUInt16BE(at + 2);
    } else if (length === 127) {
      headBytes += 8;
      if (left < headBytes) return 0;
      // As a number: what is not exact is too much anyway.
      length = Number(bytes.readBigUInt64BE(at + 2));
    }
    const opcode = first & 0x0f;
    const isControl = opcode >= OPCODES.close;
    // Before it has come: nobody makes us keep more.
    if (!isControl && this.#message.length + length > this.#bytesMax) return this.#break(STATUS.tooBig);
    const from = at + headBytes;
    const to = from + length;
    if (bytes.length < to) return 0;
    unmask(bytes, from, to);
    if (isControl) this.#control(opcode, bytes.subarray(from, to));
    else this.#data(opcode, (first & FIN) !== 0, bytes, from, to);
    return this.#breach === null ? to : 0;
  }

  /** Whether a frame may begin with these two bytes, here. */
  #mayBegin(first: number, second: number): boolean {
    if ((first & RESERVED) !== 0 || (second & MASKED) === 0) return false;
    switch (first & 0x0f) {
      case OPCODES.continuation:
        return this.#kind !== 0;
      case OPCODES.text:
      case OPCODES.binary:
        return this.#kind === 0;
      case OPCODES.close:
      case OPCODES.ping:
      case OPCODES.pong:
        return (first & FIN) !== 0 && (second & ~MASKED) <= CONTROL_BYTES_MAX && !isHalfStatus(first, second);
      default:
        return false;
    }
  }

  #data(opcode: number, isLast: boolean, bytes: Buffer, from: number, to: number): void {
    if (isLast && this.#kind === 0) return this.#whole(opcode, bytes, from, to);
    if (this.#kind === 0) this.#kind = opcode;
    const message = this.#message.add(bytes.subarray(from, to));
    if (!isLast) return;
    const kind = this.#kind;
    this.#kind = 0;
    this.#message.clear();
    this.#whole(kind, message, 0, message.length);
  }

  #whole(kind: number, bytes: Buffer, from: number, to: number): void {
    if (kind === OPCODES.binary) return this.#events.message(null, to - from);
    const text = bytes.toString("utf8", from, to);
    // What stands for bytes that are none of UTF-8 may have been said, too.
    if (text.includes("\ufffd") && !isUtf8(bytes.subarray(from, to))) this.#break(STATUS.notUtf8);
    else this.#events.message(text, to - from);
  }

  #control(opcode: number, payload: Buffer): void {
    if (opcode === OPCODES.ping) return this.#events.ping(payload);
    if (opcode === OPCODES.pong) return;
    const status = payload.length === 0 ? STATUS.none : payload.readUInt16BE(0);
    if (payload.length > 0 && !isStatus(status)) return void this.#break(STATUS.protocolError);
    if (!isUtf8(payload.subarray(2))) return void this.#break(STATUS.notUtf8);
    this.#isOver = true;
    this.#events.close(status);
  }

  #break(status: number): 0 {
    this.#isOver = true;
    this.#breach = status;
    return 0;
  }
}

/** A close whose payload has one byte. */
function isHalfStatus(first: number, second: number): boolean {
  return (first & 0x0f) === OPCODES.close && (second & ~MASKED) === 1;
}

/** One that may be sent (RFC 6455, section 7.4). */
function isStatus(status: number): boolean {
  if (status >= 3_000) return status <= 4_999;
  return (
    status >= 1_000 && status <= 1_014 && ![1_004, STATUS.none, STATUS.abnormal].includes(status as 1_004)
  );
}

/** By the four bytes before. */
function unmask(bytes: Buffer, from: number, to: number): void {
  const mask = from - MASK_BYTES;
  const a = bytes[mask]!;
  const b = bytes[mask + 1]!;
  const c = bytes[mask + 2]!;
  const d = bytes[mask + 3]!;
  let at = from;
  for (; at + 3 < to; at += 4) {
    bytes[at]! ^= a;
    bytes[at + 1]! ^= b;
    bytes[at + 2]! ^= c;
    bytes[at + 3]! ^= d;
  }
  if (at < to) bytes[at]! ^= a;
  if (at + 1 < to) bytes[at + 1]! ^= b;
  if (at + 2 < to) bytes[at + 2]! ^= c;
}

const NOTHING = Buffer.alloc(0);

/** Bytes that come in pieces. However small these are, they take no more than twice what has come, and each is copied a few times at most. */
class Pieces {
  readonly #bytesMax: number;
  #bytes: Buffer = NOTHING;
  #length = 0;

  /** @param bytesMax how many are expected together; more may come with the last piece */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get length(): number {
    return this.#length;
  }

  /** @returns all that has come, until the next call of anything here */
  add(piece: Uint8Array): Buffer {
    const length = this.#length + piece.length;
    if (length > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, Math.min(2 * this.#length, this.#bytesMax)));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(piece, this.#length);
    this.#length = length;
    return this.#bytes.subarray(0, length);
  }

  /** The first so many are not needed any more. */
  drop(count: number): void {
    const left = this.#bytes.subarray(count, this.#length);
    this.clear();
    this.add(left);
  }

  clear(): void {
    this.#bytes = NOTHING;
    this.#length = 0;
  }
}
