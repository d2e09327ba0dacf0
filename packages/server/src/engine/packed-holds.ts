import { PackedRecord, type RecordPlace, startOfName } from "./packed-record.js";
import { COSTS, type Slices } from "./slices.js";
import type { Hold } from "./state.js";
import { hashOfBytes, hashOfText, isTextAt, TextIndex } from "./text-index.js";

/** A record as it comes from the store. */
export interface DurableRecord {
  readonly type: string;
  readonly id: string;
  readonly value: unknown;
}

/** Records of holds as they lie in memory: so many that nothing is made of each. */
export interface ManyRecords {
  readonly size: number;
  /** @throws Error when it is not what was written */
  check(index: number): void;
  /** Where a record that was checked lies. The same object each time. */
  placeOf(index: number): RecordPlace;
  at(index: number): DurableRecord;
  /** It will not be asked for any more. */
  letGo(index: number): void;
  /**
   * Those that lie in one piece of memory with this one, which may still be asked for: once what may be is so little of that
   * memory that it is better taken out. Null while it is not.
   */
  fewWith(index: number): { readonly from: number; readonly to: number } | null;
}

/**
 * Holds without a session that nobody has touched since the start. There may be a million, and to make objects of them all was
 * most of a start (decision 026). So they stay as they were stored, and are found by the name of their lock, by their
 * token, by their request, and when they end: then each is *unpacked*, and is a hold like all others.
 */
export class PackedHolds {
  /** How many are packed still. */
  size = 0;
  readonly #records: ManyRecords;
  readonly #make: (record: DurableRecord) => Hold;
  readonly #isPacked: Uint8Array;
  readonly #byName: TextIndex;
  readonly #byToken: TextIndex;
  /** Null while none of them has a request. */
  #byRequest: TextIndex | null = null;
  readonly #dueMs: Float64Array;
  /** A binary heap by `#dueMs`. What was unpacked stays in it until it is the first. */
  readonly #heap: Uint32Array;
  #heapSize = 0;
  readonly #record = new PackedRecord();

  /** @param make makes a hold of a record, and puts it where it belongs */
  constructor(records: ManyRecords, make: (record: DurableRecord) => Hold) {
    const { size } = records;
    this.#records = records;
    this.#make = make;
    this.#isPacked = new Uint8Array(size);
    this.#byName = new TextIndex(size);
    this.#byToken = new TextIndex(size);
    this.#dueMs = new Float64Array(size);
    this.#heap = new Uint32Array(size);
  }

  // --- at the start ---

  /** False: of this one a hold is to be made at once. A lock that is there already may be packed nevertheless. */
  pack(index: number): boolean {
    const record = this.#record;
    if (!record.read(this.#records.placeOf(index))) return false;
    const { bytes, nameAt, nameEnd, requestAt, requestEnd } = record;
    const nameHash = hashOfBytes(bytes, nameAt, nameEnd);
    // By force two may have one lock.
    if (this.#byName.find(nameHash, this.#hasNameOfRecord) >= 0) return false;
    const { tokenAt, tokenEnd } = this.#records.placeOf(index);
    if (!this.#byToken.add(hashOfBytes(bytes, tokenAt, tokenEnd), index)) return false;
    if (requestEnd > requestAt) {
      this.#byRequest ??= new TextIndex(this.#records.size);
      if (!this.#byRequest.add(hashOfBytes(bytes, requestAt, requestEnd), index)) return false;
    }
    if (!this.#byName.add(nameHash, index)) return false;
    this.#isPacked[index] = 1;
    this.#dueMs[index] = record.expiresAtMs;
    this.#heap[this.#heapSize++] = index;
    this.size++;
    return true;
  }

  /** All are there. A slice with each step, and nothing is asked of them before the last. */
  *sealing(slices: Slices): Generator<void, void> {
    for (let at = (this.#heapSize >> 1) - 1; at >= 0; at--) {
      this.#down(at);
      if (slices.isFull(COSTS.packed)) yield;
    }
  }

  /** Those that are worth less than the memory in which they lie. Likewise. */
  *unpackingFew(slices: Slices): Generator<void, void> {
    for (let index = this.firstFrom(0); index < this.end; index = this.firstFrom(index + 1)) {
      const isFew = this.#records.fewWith(index) !== null;
      if (isFew) this.unpack(index);
      if (slices.isFull(isFew ? COSTS.made : COSTS.packed)) yield;
    }
  }

  readonly #hasNameOfRecord = (other: number): boolean => {
    if (this.#isPacked[other] === 0) return false;
    const { bytes, nameAt, nameEnd } = this.#record;
    const place = this.#records.placeOf(other);
    const from = startOfName(place) - nameAt;
    // With the quotation mark behind it.
    for (let at = nameAt; at <= nameEnd; at++) if (place.bytes[from + at] !== bytes[at]) return false;
    return true;
  };

  // --- whom something happens to ---

  /** True when one had the lock of this name: now it has it as all others do. */
  unpackByName(name: string): boolean {
    // Else it might go on into what stands behind a name.
    if (name.includes('"')) return false;
    const index = this.#byName.find(hashOfText(name), (index) => {
      if (this.#isPacked[index] === 0) return false;
      const place = this.#records.placeOf(index);
      const start = startOfName(place);
      const end = start + name.length;
      return place.bytes[end] === QUOTE && isTextAt(name, place.bytes, start, end);
    });
    if (index >= 0) this.unpack(index);
    return index >= 0;
  }

  unpackByRequest(request: string): boolean {
    if (this.#byRequest === null) return false;
    const index = this.#byRequest.find(hashOfText(request), (index) => {
      if (this.#isPacked[index] === 0) return false;
      const { bytes, requestAt, requestEnd } = this.#read(index);
      return isTextAt(request, bytes, requestAt, requestEnd);
    });
    if (index >= 0) this.unpack(index);
    return index >= 0;
  }

  unpackByToken(token: number): boolean {
    const text = String(token);
    const index = this.#byToken.find(hashOfText(text), (index) => {
      if (this.#isPacked[index] === 0) return false;
      const { bytes, tokenAt, tokenEnd } = this.#records.placeOf(index);
      return isTextAt(text, bytes, tokenAt, tokenEnd);
    });
    if (index >= 0) this.unpack(index);
    return index >= 0;
  }

  /** The earliest end of them, or Infinity. */
  get nextMs(): number {
    while (this.#heapSize > 0 && this.#isPacked[this.#heap[0]!] === 0) this.#dropFirst();
    return this.#heapSize === 0 ? Number.POSITIVE_INFINITY : this.#dueMs[this.#heap[0]!]!;
  }

  /** The one that ends first: there is one. */
  unpackFirst(): void {
    this.unpack(this.#heap[0]!);
  }

  /** Makes a hold of one that is packed, and of those that are few with it then. */
  unpack(index: number): Hold {
    const hold = this.#unpackOne(index);
    const few = this.#records.fewWith(index);
    if (few !== null)
      for (let at = this.firstFrom(few.from); at < few.to; at = this.firstFrom(at + 1)) this.#unpackOne(at);
    return hold;
  }

  #unpackOne(index: number): Hold {
    this.#isPacked[index] = 0;
    this.size--;
    const hold = this.#make(this.#records.at(index));
    this.#records.letGo(index);
    return hold;
  }

  // --- for those who look at all of them, one after the other ---

  /** How many there were: they are numbered from 0 on. */
  get end(): number {
    return this.#isPacked.length;
  }

  /** The first from there on that is packed still, or the end: what was unpacked costs nobody a look. */
  firstFrom(index: number): number {
    if (this.#isPacked[index] === 1) return index;
    const at = this.#isPacked.indexOf(1, index);
    return at < 0 ? this.end : at;
  }

  /** Of one that is packed: whether the name of its lock begins so. */
  hasPrefix(index: number, prefix: string): boolean {
    // Else it might go on into what stands behind the name.
    if (prefix.includes('"')) return false;
    const place = this.#records.placeOf(index);
    const start = startOfName(place);
    return isTextAt(prefix, place.bytes, start, start + prefix.length);
  }

  /** Of one that is packed. */
  tokenOf(index: number): number {
    return this.#read(index).token;
  }

  grantedAtMs(index: number): number {
    return this.#read(index).grantedAtMs;
  }

  #read(index: number): PackedRecord {
    this.#record.read(this.#records.placeOf(index));
    return this.#record;
  }

  // --- the heap ---

  #dropFirst(): void {
    this.#heap[0] = this.#heap[--this.#heapSize]!;
    this.#down(0);
  }

  #down(from: number): void {
    const heap = this.#heap;
    const dueMs = this.#dueMs;
    const item = heap[from]!;
    let at = from;
    for (;;) {
      let childAt = at * 2 + 1;
      if (childAt >= this.#heapSize) break;
      if (childAt + 1 < this.#heapSize && dueMs[heap[childAt + 1]!]! < dueMs[heap[childAt]!]!) childAt++;
      if (dueMs[heap[childAt]!]! >= dueMs[item]!) break;
      heap[at] = heap[childAt]!;
      at = childAt;
    }
    heap[at] = item;
  }
}

const QUOTE = 0x22;
