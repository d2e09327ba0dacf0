/** Of zlib, gzip and PNG, its lowest bit first. */
const POLYNOMIAL = 0xedb8_8320;

/**
 * The CRC-32 of a part of a buffer, after what was summed before. The same as `crc32` of `node:zlib`, which wants a view for
 * each part: for a hundred bytes that and the call take longer than the sum (decision 011).
 */
export function crc32(bytes: Uint8Array, start: number, end: number, before = 0): number {
  let sum = ~before;
  let at = start;
  for (const last = end - 4; at <= last; at += 4) {
    sum ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    sum =
      THREE_ON[sum & 255]! ^ TWO_ON[(sum >>> 8) & 255]! ^ ONE_ON[(sum >>> 16) & 255]! ^ ZERO_ON[sum >>> 24]!;
  }
  for (; at < end; at++) sum = ZERO_ON[(sum ^ bytes[at]!) & 255]! ^ (sum >>> 8);
  return ~sum >>> 0;
}

/** What each byte does to the sum, and what it does when so many zero bytes follow. */
const ZERO_ON = tableOf((byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ POLYNOMIAL : sum >>> 1;
  return sum;
});
const ONE_ON = tableOf((byte) => afterZero(ZERO_ON[byte]!));
const TWO_ON = tableOf((byte) => afterZero(ONE_ON[byte]!));
const THREE_ON = tableOf((byte) => afterZero(TWO_ON[byte]!));

function tableOf(entry: (byte: number) => number): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => entry(byte));
}

function afterZero(sum: number): number {
  return ZERO_ON[sum & 255]! ^ (sum >>> 8);
}
