import type { DurableRecord, ManyRecords, RecordPlace } from "../engine/index.js";
import { type Block, checkRecordIn, decodeRecordIn, payloadAt, type Store } from "../store/index.js";
import type { Outside, OutsideRecord } from "./outbox.js";
import { ServiceKey } from "./service.js";
import type { Services } from "./services.js";

/** The lease clock's own record. */
export const CLOCK_KEY = "default/clock";

/** Left by a restore: where the numbers of all services begin, also of those that come to be later (F3). */
export const FLOOR_KEY = "default/floor";

export interface FloorRecord {
  readonly tokens: number;
  readonly tickets: number;
  /** By how much more than the time says; for the next restore. */
  readonly raisedBy: number;
}

/** What an earlier process made durable of services. */
export interface Stored {
  /** Lease time. */
  readonly clockMs: number;
  readonly services: readonly StoredService[];
}

export interface StoredService {
  readonly key: ServiceKey;
  /** All but its holds. */
  readonly records: readonly DurableRecord[];
  /** There may be a million: each is checked when it is its turn. @throws DamagedRecordError */
  readonly holds: ManyRecords;
}

/** Reads a store from beginning to end. */
export async function readStored(store: Store, outside: Outside, all: Services): Promise<Stored> {
  let clockMs = 0;
  outside.begin();
  const services = await readServices(store.load(""), (kind, record) => {
    if (record.key === CLOCK_KEY) clockMs = (record.value as { nowMs: number }).nowMs;
    if (record.key === FLOOR_KEY) all.floor = record.value as FloorRecord;
    outside.load(kind, record);
  });
  return { clockMs, services };
}

/**
 * Reads the services that there are among some entries, such as those of a partition.
 * @param outside told of each record that is of no service, and its kind
 * @throws DamagedRecordError
 */
export async function readServices(
  entries: { blocks(): AsyncIterable<Block> | Iterable<Block> },
  outside: (kind: string, record: OutsideRecord) => void,
): Promise<readonly StoredService[]> {
  const services: Reading[] = [];
  // In the order of their keys: those of one service come one after the other.
  let last: Reading | null = null;
  for await (const block of entries.blocks()) {
    for (let index = 0; index < block.size; index++) {
      if (last?.holds.take(block, index)) continue;
      const key = block.keyAt(index);
      if (last === null || !key.startsWith(last.key.prefix)) {
        const { account, kind, service } = partsOf(key);
        if (kind !== "service") {
          // Also what nobody here keeps: a damaged record is found now (R9).
          outside(kind, { key, value: decodeRecordIn(block, index) as object });
          continue;
        }
        const serviceKey = new ServiceKey(account, service!);
        last = { key: serviceKey, records: [], holds: new StoredHolds(serviceKey) };
        services.push(last);
        if (last.holds.take(block, index)) continue;
      }
      last.records.push(recordIn(block, index, last.key));
    }
  }
  return services;
}

/** What a key says: the account, a word for what it is, and of a service's records the service. */
export function partsOf(key: string): {
  readonly account: string;
  readonly kind: string;
  readonly service: string | undefined;
} {
  const [account, kind = "", service] = key.split("/", 3);
  return { account: account!, kind, service };
}

/** Which record of a service it is. */
export function partsIn(prefix: string, key: string): { readonly type: string; readonly id: string } {
  const idAt = key.indexOf("/", prefix.length) + 1;
  return { type: key.slice(prefix.length, idAt - 1), id: key.slice(idAt) };
}

/** Reads what there is of one service. @throws DamagedRecordError */
export async function readService(store: Store, key: ServiceKey): Promise<StoredService> {
  const stored: Reading = { key, records: [], holds: new StoredHolds(key) };
  for await (const block of store.load(key.prefix).blocks()) {
    for (let index = 0; index < block.size; index++) {
      if (!stored.holds.take(block, index)) stored.records.push(recordIn(block, index, key));
    }
  }
  return stored;
}

function recordIn(block: Block, index: number, { prefix }: ServiceKey): DurableRecord {
  const key = block.keyAt(index);
  return { ...partsIn(prefix, key), value: decodeRecordIn(block, index) };
}

interface Reading extends StoredService {
  readonly records: DurableRecord[];
  readonly holds: StoredHolds;
}

/** The records of a service's holds, as they lie in their blocks. */
class StoredHolds implements ManyRecords {
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
      part = { block, shift: index - this.size, from: this.size, to: this.size, left: 0 };
      this.#parts.push(part);
    }
    this.size++;
    part.to++;
    part.left++;
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

  letGo(index: number): { readonly from: number; readonly to: number } | null {
    const part = this.#partOf(index);
    part.left--;
    if (part.left === 0) part.block = null;
    return part.left > 0 && part.left === (part.to - part.from) >> FEW_SHIFT ? part : null;
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
}

/** With an eighth of its records left, a block is not worth its memory. */
const FEW_SHIFT = 3;
