import type { DurableRecord, ManyRecords } from "../../src/engine/index.js";
import { ServiceKey } from "../../src/loop/index.js";
import { StoredHolds } from "../../src/loop/stored-holds.js";
import { Block } from "../../src/store/block.js";
import { encodeRecord } from "../../src/store/index.js";

const { prefix } = new ServiceKey("default", "service");

/**
 * Records of holds as a store gives them: sorted, in blocks, behind one another record. What was let go may not be asked for
 * again.
 * @param bytes of a block. Less than eight times those of a record: none is left alone by others and made a hold for that
 */
export function manyRecords(records: readonly DurableRecord[], bytes = 1_000): ManyRecords {
  const ofHolds = records.map(({ id, value }): [string, unknown] => [`hold/${id}`, value]);
  const entries = [["ceiling/", {}], ...ofHolds].map(([name, value]) => {
    const key = `${prefix}${name}`;
    return { key: wholeOf(Buffer.from(key)), value: wholeOf(encodeRecord(key, value as object)) };
  });
  entries.sort((a, b) => Buffer.compare(a.key.bytes, b.key.bytes));
  const holds = new StoredHolds(new ServiceKey("default", "service"));
  let block = new Block(bytes);
  for (const { key, value } of entries) {
    if (!block.add(key, value)) {
      block = new Block(Math.max(bytes, key.length + 1 + value.length));
      block.add(key, value);
    }
    holds.take(block, block.size - 1);
  }
  const gone = new Set<number>();
  const there = (index: number) => {
    if (gone.has(index)) throw new Error(`The record ${index} was let go.`);
    return index;
  };
  return {
    size: holds.size,
    check: (index) => holds.check(there(index)),
    placeOf: (index) => holds.placeOf(there(index)),
    at: (index) => holds.at(there(index)),
    letGo: (index) => {
      gone.add(there(index));
      holds.letGo(index);
    },
    fewWith: (index) => holds.fewWith(index),
  };
}

function wholeOf(bytes: Uint8Array) {
  return { bytes: Buffer.from(bytes), start: 0, length: bytes.length };
}
