import type { DurableRecord } from "../engine/index.js";
import { decodeRecord, type Store } from "../store/index.js";
import type { Outside } from "./outbox.js";
import { ServiceKey } from "./service.js";

/** The lease clock's own record. */
export const CLOCK_KEY = "default/clock";

/** What an earlier process made durable of services. */
export interface Stored {
  /** Lease time. */
  readonly clockMs: number;
  readonly services: readonly { readonly key: ServiceKey; readonly records: readonly DurableRecord[] }[];
}

/** Reads a store from beginning to end. There may be a million records. */
export async function readStored(store: Store, outside: Outside): Promise<Stored> {
  const services: { readonly key: ServiceKey; readonly records: DurableRecord[] }[] = [];
  let clockMs = 0;
  // In the order of their keys: those of one service come one after the other.
  let last: (typeof services)[0] | null = null;
  outside.begin();
  for await (const entry of store.load("")) {
    if (entry.key === CLOCK_KEY) clockMs = (decodeRecord(entry) as { nowMs: number }).nowMs;
    if (last === null || !entry.key.startsWith(last.key.prefix)) {
      const [account, kind, serviceId] = entry.key.split("/");
      if (kind !== "service") {
        // Also what nobody here keeps: a damaged record is found now (R9).
        outside.load(kind!, { key: entry.key, value: decodeRecord(entry) as object });
        continue;
      }
      last = { key: new ServiceKey(account!, serviceId!), records: [] };
      services.push(last);
    }
    const typeAt = last.key.prefix.length;
    const idAt = entry.key.indexOf("/", typeAt) + 1;
    const [type, id] = [entry.key.slice(typeAt, idAt - 1), entry.key.slice(idAt)];
    last.records.push({ type, id, value: decodeRecord(entry) });
  }
  return { clockMs, services };
}
