import { Block, wholeOf } from "./block.js";
import { crc32 } from "./checksum.js";
import type { Entry } from "./store.js";

/**
 * A record in the store, above any store: what the disk gives back is what was written under that very key, or an error
 * that names it (R9). Byte 0 is the format's version; bytes 1 to 4 are the CRC-32, big endian, of that byte, the key, a
 * zero byte and the payload; the payload is JSON. The key is part of it so that a value under a wrong key is found.
 *
 * These five bytes stay as they are in all versions to come: a newer record can then be told from a damaged one.
 */
export function encodeRecord(key: string, value: object): Uint8Array {
  const json = JSON.stringify(value) as string | undefined;
  if (json === undefined) {
    throw new TypeError(`The record ${JSON.stringify(key)} has no JSON form.`);
  }
  // As it lies in a block: its key and a zero byte before it. All in one piece is half as much work.
  const text = `${key}\0${HEADER_ROOM}${json}`;
  const valueAt = Buffer.byteLength(key) + 1;
  const bytes = Buffer.allocUnsafe(Buffer.byteLength(text));
  bytes.write(text, 0, "utf8");
  bytes[valueAt] = VERSION;
  bytes.writeUInt32BE(checksumIn(bytes, 0, valueAt, bytes.length), valueAt + 1);
  return new Uint8Array(bytes.buffer, bytes.byteOffset + valueAt, bytes.length - valueAt);
}

/** The value that was encoded. Its shape is for the caller to check. */
export function decodeRecord({ key, value }: Entry): unknown {
  const keyBytes = Buffer.from(key, "utf8");
  const block = new Block(keyBytes.length + 1 + value.length);
  block.add(wholeOf(keyBytes), wholeOf(value));
  return decodeRecordIn(block, 0);
}

/** The same of an entry in a block. */
export function decodeRecordIn(block: Block, index: number): unknown {
  checkRecordIn(block, index);
  try {
    return JSON.parse(textIn(block.bytes, payloadAt(block, index), block.endAt(index)));
  } catch {
    throw new DamagedRecordError(block.keyAt(index));
  }
}

/** That what is in a block is what was written under this key, in a form that we read. */
export function checkRecordIn(block: Block, index: number): void {
  const { bytes } = block;
  const valueAt = block.valueAt(index);
  const end = block.endAt(index);
  if (valueAt + HEADER_BYTES > end) throw new DamagedRecordError(block.keyAt(index));
  if (bytes.readUInt32BE(valueAt + 1) !== checksumIn(bytes, block.startAt(index), valueAt, end)) {
    throw new DamagedRecordError(block.keyAt(index));
  }
  const version = bytes[valueAt]!;
  // Only a record that is whole can say of itself that it is newer.
  if (version > VERSION) {
    throw new NewerFormatError(block.keyAt(index), version);
  }
  if (version < VERSION) {
    throw new DamagedRecordError(block.keyAt(index));
  }
}

/** Where the JSON of an entry begins. */
export function payloadAt(block: Block, index: number): number {
  return block.valueAt(index) + HEADER_BYTES;
}

/** @throws TypeError when it is not UTF-8 */
function textIn(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString("utf8", start, end);
  // That stands for what is no UTF-8, or for itself. The strict decoder knows; it takes twice as long.
  return text.includes("\ufffd") ? UTF8.decode(bytes.subarray(start, end)) : text;
}

export class DamagedRecordError extends Error {
  override readonly name = "DamagedRecordError";
  readonly key: string;

  constructor(key: string) {
    super(
      `The stored record ${JSON.stringify(key)} is damaged. The server refuses to start rather than guess what it held. ` +
        "Restore a backup, or remove this record knowing that what it held is lost.",
    );
    this.key = key;
  }
}

export class NewerFormatError extends Error {
  override readonly name = "NewerFormatError";
  readonly key: string;

  constructor(key: string, version: number) {
    super(
      `The stored record ${JSON.stringify(key)} has format ${version}; this LockDB reads formats up to ${VERSION}. ` +
        "Start the newer LockDB that wrote it, or restore a backup from before it.",
    );
    this.key = key;
  }
}

const VERSION = 1;
const HEADER_BYTES = 5;
const HEADER_ROOM = " ".repeat(HEADER_BYTES);
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Over its version, its key with the zero byte behind it, which no key has, and its payload. */
function checksumIn(bytes: Buffer, start: number, valueAt: number, end: number): number {
  const version = bytes[valueAt]!;
  const head = crc32(bytes, start, valueAt, version === VERSION ? VERSION_SUM : sumOf(version));
  return crc32(bytes, valueAt + HEADER_BYTES, end, head);
}

/** Of almost every record. */
const VERSION_SUM = sumOf(VERSION);

function sumOf(byte: number): number {
  return crc32(Uint8Array.of(byte), 0, 1);
}
