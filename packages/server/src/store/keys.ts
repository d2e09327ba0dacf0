import type { Change } from "./store.js";

export const KEY_BYTES_MAX = 1_024;

/**
 * The key in UTF-8, whose bytes give the order of all stores. A key that breaks the limits is our own mistake, so it is a
 * TypeError; names that come from outside were checked long before (N1).
 */
export function encodeKey(key: string): Buffer {
  keyLength(key);
  return Buffer.from(key, "utf8");
}

/** How many bytes a key has. @throws TypeError as `encodeKey` does */
export function keyLength(key: string): number {
  const length = prefixLength(key);
  if (length === 0) throw new TypeError("A store key is at least one byte long.");
  return length;
}

/** A prefix has the limits of a key, but may be empty. */
export function encodePrefix(prefix: string): Buffer {
  prefixLength(prefix);
  return Buffer.from(prefix, "utf8");
}

function prefixLength(prefix: string): number {
  if (typeof prefix !== "string") {
    throw new TypeError(`A store key is a string, not ${prefix === null ? "null" : typeof prefix}.`);
  }
  if (FORBIDDEN.test(prefix)) {
    throw new TypeError(
      `A store key has no control characters or lone surrogates: ${JSON.stringify(prefix)}.`,
    );
  }
  const length = Buffer.byteLength(prefix, "utf8");
  if (length > KEY_BYTES_MAX) {
    throw new TypeError(`A store key has at most ${KEY_BYTES_MAX} bytes of UTF-8, this one ${length}.`);
  }
  return length;
}

/** @throws TypeError when it is neither bytes nor null */
export function valueLength(value: Uint8Array | null): number {
  if (value === null) return 0;
  if (!(value instanceof Uint8Array))
    throw new TypeError("A store value is a Uint8Array, or null to delete the key.");
  return value.length;
}

export interface EncodedChange {
  readonly key: Buffer;
  readonly value: Uint8Array | null;
}

/**
 * Checks a whole batch and takes it over, so that nothing can fail or change under the store once it writes. The values
 * move into one block of memory: a caller may use its own again at once.
 */
export function encodeBatch(batch: readonly Change[]): EncodedChange[] {
  let size = 0;
  for (const { value } of batch) size += valueLength(value);
  const block = new Uint8Array(size);
  let end = 0;
  return batch.map(({ key, value }) => {
    if (value === null) {
      return { key: encodeKey(key), value };
    }
    const start = end;
    end += value.length;
    block.set(value, start);
    return { key: encodeKey(key), value: block.subarray(start, end) };
  });
}

// With the u flag a surrogate that belongs to a pair is no surrogate any more, only a lone one is.
const FORBIDDEN = /[\u0000-\u001f\u007f]|\p{Surrogate}/u;
