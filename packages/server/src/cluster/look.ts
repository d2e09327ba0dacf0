import type { EtcdEntry } from "../store/etcd-api.js";
import { decodeRecord } from "../store/index.js";
import { MEMBERS, OWNERS, SHARES } from "./keys.js";
import type { Look } from "./membership.js";
import { PARTITIONS } from "./partitions.js";
import {
  isSame,
  type MemberRecord,
  memberKey,
  type OwnerRecord,
  ownerKey,
  type Seen,
  seen,
  shareKey,
} from "./records.js";
import type { Words } from "./words.js";

/** For how long a member is waited for whose record cannot be read. */
const LEASE_MS_UNKNOWN = 5_000;

/**
 * What a transaction has read of members and owners. One record that cannot be read, be it damaged or of a newer LockDB, is no reason to know nothing of the
 * others: a member is then one that can be given nothing, and is fenced when it is silent; a partition is left alone.
 * @param unreadable told of each
 */
export function lookIn(
  gets: readonly (readonly EtcdEntry[])[],
  words: Words,
  times: Pick<Look, "sentMs" | "receivedMs">,
  unreadable: (key: string, error: unknown) => void,
): Look {
  const read = <T>(key: string, bytes: Uint8Array): Seen<T> | null => {
    try {
      return seen<T>(key, bytes);
    } catch (error) {
      unreadable(key, error);
      return null;
    }
  };
  const members = new Map<string, Seen<MemberRecord>>();
  for (const { key, value } of gets[0] ?? []) {
    const id = words.nameIn(key, MEMBERS);
    members.set(id, read<MemberRecord>(memberKey(id), value) ?? { record: UNKNOWN, bytes: value });
  }
  const owners: (Seen<OwnerRecord> | null)[] = new Array(PARTITIONS).fill(null);
  const unknown = new Set<number>();
  for (const { key, value } of gets[1] ?? []) {
    const partition = Number.parseInt(words.nameIn(key, OWNERS), 16);
    const owner = read<OwnerRecord>(ownerKey(partition), value);
    if (owner === null) unknown.add(partition);
    else owners[partition] = owner;
  }
  return { members, owners, unknown, ...times };
}

const UNKNOWN: MemberRecord = {
  url: "",
  version: "",
  secret: "",
  beat: 0,
  leaseMs: LEASE_MS_UNKNOWN,
  isReady: false,
  isLeaving: false,
};

/** What members share with each other, by their ids. */
export function sharesIn(
  gets: readonly (readonly EtcdEntry[])[],
  words: Words,
  { members }: Look,
  unreadable: (key: string, error: unknown) => void,
): Map<string, object> {
  const shares = new Map<string, object>();
  for (const { key, value } of gets[3] ?? []) {
    const id = words.nameIn(key, SHARES);
    // Of one that is gone it may still be there.
    if (!members.has(id)) continue;
    try {
      shares.set(id, decodeRecord({ key: shareKey(id), value }) as object);
    } catch (error) {
      unreadable(shareKey(id), error);
    }
  }
  return shares;
}

/** Whether anybody is to be told. */
export function hasChanged(before: Look, after: Look): boolean {
  if (before.members.size !== after.members.size) return true;
  for (const [id, { record }] of after.members) {
    const known = before.members.get(id)?.record;
    if (known === undefined || known.isReady !== record.isReady || known.isLeaving !== record.isLeaving)
      return true;
  }
  return after.owners.some((owner, partition) => {
    const known = before.owners[partition];
    return (owner === null) !== (known === null) || (owner !== null && !isSame(owner.bytes, known!.bytes));
  });
}
