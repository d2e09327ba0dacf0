import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { crc32 } from "node:zlib";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LENGTH = 10;
/** 32 characters of base62 are 190 bits. */
const SECRET_LENGTH = 32;
const CRC_LENGTH = 6;

/** A root key that an operator sets may have any form, but not be short (A1). */
export const ROOT_KEY_LENGTH_MIN = 16;

/** A new API key, `ldb_<id>_<secret><crc>` (A1). The checksum lets scanners of leaked secrets tell it from noise. */
export function newApiKey(): string {
  const body = `ldb_${randomBase62(ID_LENGTH)}_${randomBase62(SECRET_LENGTH)}`;
  return body + base62(crc32(body), CRC_LENGTH);
}

/** What is stored of a key. Keys have far more than 112 bits of entropy, so a fast hash is enough. */
export function keyHash(key: string): string {
  return createHash("sha256").update(key, "utf8").digest("hex");
}

/** Compares in constant time whether a key has this hash. */
export function keyMatches(key: string, hash: string): boolean {
  return timingSafeEqual(Buffer.from(keyHash(key), "hex"), Buffer.from(hash, "hex"));
}

/** The key of an `Authorization: Bearer` header, or null. */
export function bearerKey(header: string | undefined): string | null {
  const match = /^Bearer +(\S{1,512}) *$/i.exec(header ?? "");
  return match === null ? null : match[1]!;
}

function randomBase62(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      // 248 is the highest multiple of 62 in a byte: beyond it some characters would come more often.
      if (byte < 248 && text.length < length) text += BASE62[byte % 62];
    }
  }
  return text;
}

function base62(value: number, length: number): string {
  let text = "";
  for (let rest = value; text.length < length; rest = Math.floor(rest / 62)) text = BASE62[rest % 62] + text;
  return text;
}
