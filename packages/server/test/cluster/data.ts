import { layoutOf } from "../../src/cluster/layout.js";
import { partitionName, partitionOf } from "../../src/cluster/partitions.js";
import { fenceKey, memberKey, type OwnerRecord, ownerKey, written } from "../../src/cluster/records.js";
import type { Snapshot } from "../../src/cluster/snapshot.js";
import { Words } from "../../src/cluster/words.js";
import { CLOCK_KEY } from "../../src/loop/index.js";
import { openEtcdStore } from "../../src/store/etcd.js";
import type { Etcd, Op } from "../../src/store/etcd-api.js";
import { type Change, type Entry, encodeRecord, type Store } from "../../src/store/index.js";
import type { MemoryEtcd } from "../store/memory-etcd.js";

export const AT = "/test/";
const words = new Words(AT);

/** A service of that partition. */
export function serviceIn(partition: number): string {
  for (let at = 0; ; at++) if (partitionOf("default", `s${at}`) === partition) return `s${at}`;
}

export function change(key: string, value: object | null): Change {
  return { key, value: value === null ? null : encodeRecord(key, value) };
}

export const keyOf = (service: string, rest: string) => `default/service/${service}/${rest}`;

/** A hold that ends at a moment of the lease clock of its partition. */
export function holdUntil(service: string, token: number, expiresAtMs: number): Change {
  const names = `lock ${token}`;
  const rest = { owner: "db1", grantedAtMs: 1, metadata: {}, request: null, remainder: false };
  return change(keyOf(service, `hold/${token}`), { names, ...rest, expiresAtMs });
}

/** Writes into an etcd what members would have, without any. */
export class Data {
  readonly etcd: MemoryEtcd;

  constructor(etcd: MemoryEtcd) {
    this.etcd = etcd;
  }

  async apply(...ops: Op[]): Promise<void> {
    await this.etcd.client().txn({ compare: [], ops });
  }

  /** A member's fence and record: it has joined. */
  async joined(id: string, beat = 1): Promise<void> {
    const record = {
      url: `http://${id}`,
      secret: "x",
      beat,
      leaseMs: 5_000,
      isReady: true,
      isLeaving: false,
    };
    await this.apply(
      words.put(written(fenceKey(id), { member: id })),
      words.put(written(memberKey(id), { ...record, version: "1" })),
    );
  }

  async left(id: string): Promise<void> {
    await this.apply(words.delete(fenceKey(id)), words.delete(memberKey(id)));
  }

  async owner(partition: number, record: OwnerRecord): Promise<void> {
    await this.apply(words.put(written(ownerKey(partition), record)));
  }

  /** What a member's loop writes to. */
  store(id: string, client: Etcd = this.etcd.client()): Promise<Store> {
    const { key, value } = written(fenceKey(id), { member: id });
    const guards = [{ key: `${AT}${key}`, value }];
    return openEtcdStore({ etcd: client, at: AT, guards, layout: layoutOf(id) });
  }

  /** Writes as that member, which then leaves. */
  async wrote(id: string, clockMs: number, changes: readonly Change[]): Promise<void> {
    await this.joined(id);
    const store = await this.store(id);
    await store.commit([change(CLOCK_KEY, { nowMs: clockMs }), ...changes]);
    await store.close();
    await this.left(id);
  }
}

export async function listOf(entries: AsyncIterable<Entry>): Promise<[string, Record<string, unknown>][]> {
  const list: [string, Record<string, unknown>][] = [];
  for await (const { key, value } of entries)
    list.push([key, JSON.parse(Buffer.from(value).subarray(5).toString())]);
  return list;
}

export async function recordsOf(snapshot: Snapshot): Promise<Record<string, Record<string, unknown>>> {
  return Object.fromEntries(await listOf(snapshot.entries()));
}

export { partitionName };
