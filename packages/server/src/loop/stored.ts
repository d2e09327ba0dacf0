import type { DurableRecord, ManyRecords } from "../engine/index.js";
import { type Block, decodeRecordIn, type Store } from "../store/index.js";
import type { Outside, OutsideRecord } from "./outbox.js";
import { ServiceKey } from "./service.js";
import type { Services } from "./services.js";
import { StoredHolds } from "./stored-holds.js";

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
