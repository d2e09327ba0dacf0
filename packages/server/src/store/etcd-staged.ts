import { crc32 } from "./checksum.js";
import type { EncodedChange } from "./keys.js";

/**
 * Changes of a batch that is too large for one transaction, in pieces of which each fits into one. A piece: its CRC-32 in four bytes,
 * then for each change the length of its key in two bytes, that of its value in four (the highest number: it is deleted), and both.
 */
export function piecesOf(changes: readonly EncodedChange[], bytesMax: number): Buffer[] {
  const pieces: Buffer[] = [];
  let parts: Uint8Array[] = [];
  let bytes = SUM_BYTES;
  const end = () => {
    const piece = Buffer.concat([Buffer.alloc(SUM_BYTES), ...parts]);
    piece.writeUInt32BE(crc32(piece, SUM_BYTES, piece.length), 0);
    pieces.push(piece);
    parts = [];
    bytes = SUM_BYTES;
  };
  for (const { key, value } of changes) {
    const size = HEAD_BYTES + key.length + (value?.length ?? 0);
    if (parts.length > 0 && bytes + size > bytesMax) end();
    const head = Buffer.allocUnsafe(HEAD_BYTES);
    head.writeUInt16BE(key.length, 0);
    head.writeUInt32BE(value?.length ?? DELETED, 2);
    parts.push(head, key, ...(value === null ? [] : [value]));
    bytes += size;
  }
  if (parts.length > 0) end();
  return pieces;
}

/** @returns null when the piece is damaged */
export function changesIn(piece: Buffer): EncodedChange[] | null {
  if (piece.length < SUM_BYTES || piece.readUInt32BE(0) !== crc32(piece, SUM_BYTES, piece.length))
    return null;
  const changes: EncodedChange[] = [];
  for (let at = SUM_BYTES; at < piece.length; ) {
    const keyAt = at + HEAD_BYTES;
    const valueAt = keyAt + piece.readUInt16BE(at);
    const length = piece.readUInt32BE(at + 2);
    at = valueAt + (length === DELETED ? 0 : length);
    const key = piece.subarray(keyAt, valueAt);
    changes.push({ key, value: length === DELETED ? null : piece.subarray(valueAt, at) });
  }
  return changes;
}

const SUM_BYTES = 4;
const HEAD_BYTES = 6;
const DELETED = 0xffff_ffff;
