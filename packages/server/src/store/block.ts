import type { Entries, Entry } from "./store.js";

/**
 * Entries one behind the other in one piece of memory, in which each has its key in UTF-8, a zero byte, and its value. A start
 * reads perhaps a million: an object for each costs more than the reading (decision 011).
 */
export class Block {
  readonly bytes: Buffer;
  /** Where each value begins and ends, in turns. */
  readonly #marks: number[] = [];
  #end = 0;

  /** @param bytesMax room for so many; an entry that is larger than a block has one of its own */
  constructor(bytesMax = BYTES) {
    // Not from Node's pool: all of a block is its entries'.
    this.bytes = Buffer.allocUnsafeSlow(bytesMax);
  }

  /** How many entries there are. */
  get size(): number {
    return this.#marks.length / 2;
  }

  /** Copies an entry to the end; false when there is no room for it. */
  add(key: Bytes, value: Bytes): boolean {
    const valueAt = this.#end + key.length + 1;
    const end = valueAt + value.length;
    if (end > this.bytes.length || this.size === ENTRIES_MAX) return false;
    copy(key, this.bytes, this.#end);
    this.bytes[valueAt - 1] = 0;
    copy(value, this.bytes, valueAt);
    this.#marks.push(valueAt, end);
    this.#end = end;
    return true;
  }

  /** All but the entry of this key, which is ASCII. Itself when it has none, or could not. */
  without(key: string): Block {
    const last = this.size - 1;
    if (last < 0 || key < this.keyAt(0) || key > this.keyAt(last)) return this;
    const rest = new Block(this.bytes.length);
    for (let index = 0; index <= last; index++) {
      const [start, valueAt] = [this.startAt(index), this.valueAt(index)];
      if (this.keyAt(index) === key) continue;
      rest.add(
        { bytes: this.bytes, start, length: valueAt - 1 - start },
        { bytes: this.bytes, start: valueAt, length: this.endAt(index) - valueAt },
      );
    }
    return rest;
  }

  keyAt(index: number): string {
    return this.bytes.toString("utf8", this.startAt(index), this.valueAt(index) - 1);
  }

  entryAt(index: number): Entry {
    const start = this.valueAt(index);
    // No Buffer: its `slice` shares memory where that of a Uint8Array copies.
    const { buffer, byteOffset } = this.bytes;
    return {
      key: this.keyAt(index),
      value: new Uint8Array(buffer, byteOffset + start, this.endAt(index) - start),
    };
  }

  /** Where an entry begins, with its key. */
  startAt(index: number): number {
    return index === 0 ? 0 : this.#marks[2 * index - 1]!;
  }

  /** Where its value begins. */
  valueAt(index: number): number {
    return this.#marks[2 * index]!;
  }

  /** Where its value ends. */
  endAt(index: number): number {
    return this.#marks[2 * index + 1]!;
  }
}

/** Bytes in somebody else's memory. */
export interface Bytes {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly length: number;
}

/** Adds an entry to the last block, or to a new one. Gives the block that it is in. */
export function blockWith(last: Block | null, key: Bytes, value: Bytes): Block {
  if (last?.add(key, value)) return last;
  const block = new Block(Math.max(BYTES, key.length + 1 + value.length));
  block.add(key, value);
  return block;
}

export function wholeOf(bytes: Uint8Array): Bytes {
  return { bytes, start: 0, length: bytes.length };
}

/** Entries that are in memory already, copied into blocks. */
export function* blocksOf(entries: Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>) {
  let last: Block | null = null;
  for (const { key, value } of entries) {
    const block = blockWith(last, wholeOf(key), wholeOf(value));
    if (last !== null && block !== last) yield last;
    last = block;
  }
  if (last !== null) yield last;
}

/** What is in blocks, also one by one. `assertUsable` throws when the store is not to be used any more. */
export function entriesIn(blocks: () => AsyncIterable<Block>, assertUsable: () => void): Entries {
  return {
    blocks,
    async *[Symbol.asyncIterator]() {
      for await (const block of blocks()) {
        for (let index = 0; index < block.size; index++) {
          yield block.entryAt(index);
          assertUsable();
        }
      }
    },
  };
}

const BYTES = 262_144;
/** Whoever reads a block does so in one step. */
const ENTRIES_MAX = 1_000;
const LOOP_BYTES_MAX = 64;

function copy({ bytes, start, length }: Bytes, to: Buffer, at: number): void {
  // For few bytes a call costs more than they do.
  if (length > LOOP_BYTES_MAX) to.set(bytes.subarray(start, start + length), at);
  else for (let index = 0; index < length; index++) to[at + index] = bytes[start + index]!;
}
