import { crc32 } from "node:zlib";
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
  const record = Buffer.allocUnsafe(HEADER_BYTES + Buffer.byteLength(json));
  record.write(json, HEADER_BYTES, "utf8");
  record[0] = VERSION;
  record.writeUInt32BE(checksumOf(key, VERSION, record.subarray(HEADER_BYTES)), 1);
  return new Uint8Array(record.buffer, record.byteOffset, record.byteLength);
}

/** The value that was encoded. Its shape is for the caller to check. */
export function decodeRecord({ key, value }: Entry): unknown {
  if (value.length < HEADER_BYTES) throw new DamagedRecordError(key);
  // One view of it, since a start makes one for each of perhaps a million records.
  const payload = Buffer.from(value.buffer, value.byteOffset + HEADER_BYTES, value.length - HEADER_BYTES);
  const version = value[0]!;
  const checksum = ((value[1]! << 24) | (value[2]! << 16) | (value[3]! << 8) | value[4]!) >>> 0;
  if (checksum !== checksumOf(key, version, payload)) {
    throw new DamagedRecordError(key);
  }
  // Only a record that is whole can say of itself that it is newer.
  if (version > VERSION) {
    throw new NewerFormatError(key, version);
  }
  if (version < VERSION) {
    throw new DamagedRecordError(key);
  }
  try {
    return JSON.parse(UTF8.decode(payload));
  } catch {
    throw new DamagedRecordError(key);
  }
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
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function checksumOf(key: string, version: number, payload: Uint8Array): number {
  const first = version === VERSION ? VERSION_CRC : crc32(Buffer.of(version));
  // No key has a zero byte, so that the end of the key is part of what is summed.
  const head = crc32(`${key}\0`, first);
  return crc32(payload, head);
}

/** Of almost every record: a call less for each of a million. */
const VERSION_CRC = crc32(Buffer.of(VERSION));
