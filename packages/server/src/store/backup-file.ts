import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { messageOf } from "./folder.js";
import { KEY_BYTES_MAX } from "./keys.js";
import type { Entry } from "./store.js";

/**
 * A backup as bytes: a line of text that says what it is and in which format, then frames. A frame is `length, checksum, kind, body`:
 * the length is of what follows the checksum, the checksum (CRC-32) of the length and all that follows. All numbers are little endian.
 * The first frame is the header, in JSON. Then one for each record, in the order of their keys: `key length, key, value`. The last is the trailer, in JSON:
 * how many records there are, and the SHA-256 of every byte before it. Behind it the file ends.
 */
const FORMAT = 1;
const FIRST_LINE = /^LockDB backup (\d{1,9})\n/;
const FIRST_LINE_BYTES_MAX = 24;

const FRAME_BYTES = 9;
const KINDS = { header: 0x48, record: 0x52, trailer: 0x54 } as const;
/** No record is nearly as long: a length beyond it is damage, and not worth the memory. */
const BODY_BYTES_MAX = 64 * 1_024 * 1_024;
const CHUNK_BYTES = 16 * 1_024;

export interface BackupHeader {
  /** The moment that it is of, by the time of day of the server (ISO 8601). */
  readonly at: string;
  /** Version of the LockDB that has written it. */
  readonly lockdb: string;
  /** Whether its server was running. */
  readonly from: "running" | "stopped";
}

/** The file cannot be used; the message says why, and what to do. */
export class BackupUnusableError extends Error {
  override readonly name = "BackupUnusableError";
}

/** A backup of these records, in pieces of about 16 KiB. */
export async function* backupChunks(
  header: BackupHeader,
  entries: AsyncIterable<Entry>,
): AsyncGenerator<Buffer> {
  const hash = createHash("sha256");
  let pieces: Buffer[] = [Buffer.from(`LockDB backup ${FORMAT}\n`), jsonFrame("header", header)];
  let bytes = 0;
  let records = 0;
  const taken = () => {
    const chunk = Buffer.concat(pieces);
    pieces = [];
    bytes = 0;
    hash.update(chunk);
    return chunk;
  };
  for await (const { key, value } of entries) {
    const piece = recordFrame(Buffer.from(key), value);
    records++;
    pieces.push(piece);
    bytes += piece.length;
    if (bytes >= CHUNK_BYTES) yield taken();
  }
  yield taken();
  yield jsonFrame("trailer", { records, sha256: hash.digest("hex") });
}

/** A backup in a file. Nothing of it is believed before its checksum is seen; of the whole, before `entries` has come to its end. */
export class BackupFile {
  readonly path: string;
  readonly format: number;
  readonly header: BackupHeader;
  readonly #fd: number;
  readonly #start: number;

  private constructor(path: string, fd: number, header: BackupHeader, format: number, start: number) {
    this.path = path;
    this.header = header;
    this.format = format;
    this.#fd = fd;
    this.#start = start;
  }

  /** @throws BackupUnusableError when it is no backup, or one that this LockDB cannot read */
  static open(path: string): BackupFile {
    let fd: number;
    try {
      fd = openSync(path, "r");
    } catch (error) {
      throw new BackupUnusableError(`The file "${path}" cannot be read (${messageOf(error)}).`, {
        cause: error,
      });
    }
    try {
      const bytes = new Bytes(fd, path, 0);
      const [line, format] = FIRST_LINE.exec(bytes.peek(FIRST_LINE_BYTES_MAX).toString("latin1")) ?? [];
      if (line === undefined) throw new BackupUnusableError(`"${path}" is no backup of LockDB.`);
      if (Number(format) !== FORMAT)
        throw new BackupUnusableError(
          `"${path}" has format ${format}; this LockDB reads format ${FORMAT}. Use the LockDB that has made it, or a newer one.`,
        );
      bytes.take(line.length);
      const { kind, body } = bytes.frame("header");
      if (kind !== KINDS.header) throw bytes.damaged("header");
      const header = jsonIn(body, bytes, "header") as BackupHeader;
      if (Number.isNaN(Date.parse(header.at))) throw bytes.damaged("header");
      return new BackupFile(path, fd, header, Number(format), bytes.position);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * All records, in the order of their keys. Can be read again.
   * @returns the SHA-256 of the file up to its trailer
   * @throws BackupUnusableError at the first thing that is wrong, at the latest behind the last record
   */
  async *entries(): AsyncGenerator<Entry, string> {
    const bytes = new Bytes(this.#fd, this.path, 0);
    bytes.take(this.#start);
    let before: Buffer | null = null;
    for (let count = 0; ; count++) {
      const where = `record ${count + 1}`;
      const sha256 = bytes.digest();
      const { kind, body } = bytes.frame(where);
      if (kind === KINDS.trailer) {
        const trailer = jsonIn(body, bytes, "trailer") as { records: number; sha256: string };
        if (trailer.records !== count || trailer.sha256 !== sha256) throw bytes.damaged("whole");
        if (bytes.peek(1).length > 0) throw bytes.damaged("end");
        return sha256;
      }
      if (kind !== KINDS.record || body.length < 2) throw bytes.damaged(where);
      const valueAt = 2 + body.readUInt16LE(0);
      const key = body.subarray(2, valueAt);
      const isKey = valueAt > 2 && valueAt <= body.length && key.length <= KEY_BYTES_MAX;
      if (!isKey || (before !== null && before.compare(key) >= 0)) throw bytes.damaged(where);
      before = key;
      yield { key: key.toString("utf8"), value: new Uint8Array(body.subarray(valueAt)) };
      if (count % RECORDS_A_TURN === 0) await setImmediate();
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

const RECORDS_A_TURN = 1_000;
const READ_BYTES = 64 * 1_024;

/** The bytes of a file, one after the other. */
class Bytes {
  readonly #fd: number;
  readonly #path: string;
  readonly #hash = createHash("sha256");
  #buffer: Buffer = Buffer.alloc(0);
  /** How much of the buffer was taken. It is hashed when more is read, and not in small pieces. */
  #taken = 0;
  #readAt: number;
  position = 0;

  constructor(fd: number, path: string, at: number) {
    this.#fd = fd;
    this.#path = path;
    this.#readAt = at;
  }

  /** At most so many bytes, which stay where they are. */
  peek(count: number): Buffer {
    while (this.#buffer.length - this.#taken < count) {
      const more = Buffer.allocUnsafe(Math.max(READ_BYTES, count));
      const length = this.#read(more);
      if (length === 0) break;
      this.#readAt += length;
      this.#hashTaken();
      this.#buffer = Buffer.concat([this.#buffer, more.subarray(0, length)]);
    }
    return this.#buffer.subarray(this.#taken, this.#taken + count);
  }

  take(count: number, where = "header"): Buffer {
    const bytes = this.peek(count);
    if (bytes.length < count)
      throw new BackupUnusableError(
        `"${this.#path}" is cut off at its ${where}, ${this.position + bytes.length} bytes from its beginning. It cannot be used: take another backup.`,
      );
    this.#taken += count;
    this.position += count;
    return bytes;
  }

  #hashTaken(): void {
    this.#hash.update(this.#buffer.subarray(0, this.#taken));
    this.#buffer = this.#buffer.subarray(this.#taken);
    this.#taken = 0;
  }

  frame(where: string): { readonly kind: number; readonly body: Buffer } {
    const head = this.take(FRAME_BYTES, where);
    const length = head.readUInt32LE(0);
    if (length < 1 || length > BODY_BYTES_MAX) throw this.damaged(where);
    const body = this.take(length - 1, where);
    if (head.readUInt32LE(4) !== checksum(head, body)) throw this.damaged(where);
    return { kind: head[8]!, body };
  }

  /** Of all that was taken. */
  digest(): string {
    // Only the trailer's beginning asks for it in earnest; a look ahead spares the others the copy.
    if (this.peek(FRAME_BYTES)[8] !== KINDS.trailer) return "";
    this.#hashTaken();
    return this.#hash.copy().digest("hex");
  }

  damaged(where: string): BackupUnusableError {
    const at = where === "whole" ? "as a whole" : `at its ${where}, before byte ${this.position}`;
    return new BackupUnusableError(
      `"${this.#path}" is damaged ${at}. It cannot be used, since nobody knows what else is wrong in it: take another backup.`,
    );
  }

  #read(into: Buffer): number {
    try {
      return readSync(this.#fd, into, 0, into.length, this.#readAt);
    } catch (error) {
      throw new BackupUnusableError(`The file "${this.#path}" cannot be read (${messageOf(error)}).`, {
        cause: error,
      });
    }
  }
}

function recordFrame(key: Buffer, value: Uint8Array): Buffer {
  const length = Buffer.allocUnsafe(2);
  length.writeUInt16LE(key.length);
  return frame("record", [length, key, value]);
}

function jsonFrame(kind: "header" | "trailer", value: object): Buffer {
  return frame(kind, [Buffer.from(JSON.stringify(value))]);
}

function frame(kind: keyof typeof KINDS, parts: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(FRAME_BYTES), ...parts]);
  bytes.writeUInt32LE(bytes.length - FRAME_BYTES + 1, 0);
  bytes[8] = KINDS[kind];
  bytes.writeUInt32LE(checksum(bytes, bytes.subarray(FRAME_BYTES)), 4);
  return bytes;
}

function checksum(head: Buffer, body: Buffer): number {
  return crc32(body, crc32(head.subarray(8, FRAME_BYTES), crc32(head.subarray(0, 4))));
}

function jsonIn(body: Buffer, bytes: Bytes, where: string): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    throw bytes.damaged(where);
  }
}
