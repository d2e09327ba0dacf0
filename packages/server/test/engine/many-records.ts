import type { DurableRecord, ManyRecords } from "../../src/engine/index.js";

/** Records of holds in one piece of memory, as a store gives them: sorted, and behind each other. */
export function manyRecords(records: readonly DurableRecord[]): ManyRecords {
  const sorted = [...records].sort((a, b) => Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)));
  const parts: { tokenAt: number; tokenEnd: number; jsonAt: number; jsonEnd: number }[] = [];
  const pieces: Buffer[] = [];
  let end = 0;
  for (const { id, value } of sorted) {
    const piece = Buffer.from(`${id}\0${JSON.stringify(value)}`);
    const [tokenAt, tokenEnd] = [end, end + Buffer.byteLength(id)];
    end += piece.length;
    parts.push({ tokenAt, tokenEnd, jsonAt: tokenEnd + 1, jsonEnd: end });
    pieces.push(piece);
  }
  const bytes = Buffer.concat(pieces);
  const gone = new Set<number>();
  const there = (index: number) => {
    if (gone.has(index)) throw new Error(`The record ${index} was let go.`);
    return index;
  };
  return {
    size: sorted.length,
    check: (index) => void there(index),
    placeOf: (index) => ({ bytes, ...parts[there(index)]! }),
    at: (index) => sorted[there(index)]!,
    letGo: (index) => {
      gone.add(there(index));
      return null;
    },
  };
}
