import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { crc32 } from "node:zlib";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LENGTH = 10;
/** 32 characters of base62 are 190 bits. */
const SECRET_LENGTH = 32;
const CRC_LENGTH = 6;

/** A root key that an operator sets may have any form, but not be short (A1). */
export const ROOT_KEY_LENGTH_MIN = 16;

/** An id that no other key has, as far as chance goes. */
export function newKeyId(): string {
  return randomBase62(ID_LENGTH);
}

/** An id for an account. It stands before everything of it in the store. */
export function newAccountId(): string {
  return `acc_${randomBase62(ID_LENGTH)}`;
}

/** A new API key, `ldb_<id>_<secret><crc>` (A1). The checksum lets scanners of leaked secrets tell it from noise. */
export function newApiKey(id: string): string {
  const body = `ldb_${id}_${randomBase62(SECRET_LENGTH)}`;
  return body + base62(crc32(body), CRC_LENGTH);
}

/** Which key this claims to be; null for another form, which the root key may have. */
export function keyIdIn(key: string): string | null {
  return /^ldb_([0-9A-Za-z]{1,32})_[0-9A-Za-z]{38}$/.exec(key)?.[1] ?? null;
}

/** What is stored of a key. Keys have far more than 112 bits of entropy, so a fast hash is enough. */
export function keyHash(key: string): string {
  return createHash("sha256").update(key, "utf8").digest("hex");
}

/** Compares two hashes in constant time. */
export function isSameHash(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(a, "hex"), Buffer.from(b, "hex"));
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
