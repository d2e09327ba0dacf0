import type { DurableRecord, ManyRecords, RecordPlace } from "../engine/index.js";
import { type Block, checkRecordIn, decodeRecordIn, payloadAt } from "../store/index.js";
import type { ServiceKey } from "./service.js";

/** The records of a service's holds, as they lie in their blocks. */
export class StoredHolds implements ManyRecords {
  size = 0;
  readonly #prefix: Buffer;
  readonly #parts: Part[] = [];
  /** The part that was asked for last. */
  #last = 0;
  readonly #place = { bytes: NO_BYTES, tokenAt: 0, tokenEnd: 0, jsonAt: 0, jsonEnd: 0 };

  constructor({ prefix }: ServiceKey) {
    this.#prefix = Buffer.from(`${prefix}hold/`, "utf8");
  }

  /** Adds an entry if it is one of them. They come one after the other. */
  take(block: Block, index: number): boolean {
    const { bytes } = block;
    const start = block.startAt(index);
    for (let at = 0; at < this.#prefix.length; at++) if (bytes[start + at] !== this.#prefix[at]) return false;
    let part = this.#parts.at(-1);
    if (part?.block !== block) {
      part = { block, shift: index - this.size, from: this.size, to: this.size, left: 0, bytesLeft: 0 };
      this.#parts.push(part);
    }
    this.size++;
    part.to++;
    part.left++;
    part.bytesLeft += block.endAt(index) - start;
    return true;
  }

  check(index: number): void {
    const { block, shift } = this.#partOf(index);
    checkRecordIn(block!, index + shift);
  }

  placeOf(index: number): RecordPlace {
    const { block, shift } = this.#partOf(index);
    const at = index + shift;
    const place = this.#place;
    place.bytes = block!.bytes;
    place.tokenAt = block!.startAt(at) + this.#prefix.length;
    place.tokenEnd = block!.valueAt(at) - 1;
    place.jsonAt = payloadAt(block!, at);
    place.jsonEnd = block!.endAt(at);
    return place;
  }

  at(index: number): DurableRecord {
    const { block, shift } = this.#partOf(index);
    const { tokenAt, tokenEnd } = this.placeOf(index);
    const id = block!.bytes.toString("latin1", tokenAt, tokenEnd);
    return { type: "hold", id, value: decodeRecordIn(block!, index + shift) };
  }

  letGo(index: number): void {
    const part = this.#partOf(index);
    const { block, shift } = part;
    part.left--;
    part.bytesLeft -= block!.endAt(index + shift) - block!.startAt(index + shift);
    if (part.left === 0) part.block = null;
  }

  fewWith(index: number): { readonly from: number; readonly to: number } | null {
    const part = this.#partOf(index);
    // Others may lie in it too, so it is all of it that counts.
    return part.block !== null && part.bytesLeft * FEW <= part.block.bytes.length ? part : null;
  }

  #partOf(index: number): Part {
    const last = this.#parts[this.#last]!;
    if (index >= last.from && index < last.to) return last;
    let low = 0;
    let high = this.#parts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#parts[middle]!.from <= index) low = middle;
      else high = middle - 1;
    }
    this.#last = low;
    return this.#parts[low]!;
  }
}

const NO_BYTES: Uint8Array = new Uint8Array(0);

/** The records of a block. */
interface Part {
  /** Null once nobody asks for any of them. */
  block: Block | null;
  /** What a record's number is less than that of its entry in the block. */
  readonly shift: number;
  readonly from: number;
  to: number;
  /** How many may still be asked for. */
  left: number;
  /** How much of the block these are. */
  bytesLeft: number;
}

/** When what may be asked for is an eighth of a block or less, it is not worth the block's memory. */
const FEW = 8;
