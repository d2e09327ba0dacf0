import { CLOCK_KEY, partsOf } from "../loop/index.js";
import { partitionName, partitionOf } from "./partitions.js";

/** Parts of a cluster's keys, behind its own prefix. */
export const MEMBERS = "member/";
/** One a member, with its id in it, which never changes: each transaction of a member has the condition that it is there. */
export const FENCES = "fence/";
export const OWNERS = "owner/";
export const CLOCKS = "clock/";
/** One a member, where it has something: what it shares with all others, such as what accounts with limits have there. */
export const SHARES = "share/";
/** Of each member's store: what its last transaction was, and pieces of a batch that is too large for one (decision 022). */
export const HEADS = "head/";
export const STAGED = "staged/";
/** One a member: a transaction that only reads has to write something, or it would not go through etcd's log. */
export const READS = "read/";
export const DATA = "data/";
/** Accounts, keys, and whatever else is of no service: every member has it in memory, and the keeper writes it. */
export const COMMON = "data/common/";
export const AUDIT = "data/audit/";
/** Changes with every change of what is common. */
export const COMMON_VERSION = "version/common";
/** Which keys the last changes of what is common were of (decision 028). Not below the version: that is watched. */
export const NOTES_AREA = "note/";

/** Of whoever writes what is common: the owner of this partition. */
export const KEEPERS_PARTITION = 0;

/** A key of the store that stands for the owner record of a partition, so that a hand-over is one batch with the rest. */
const OWNER_IN_STORE = "default/owner/";

export function ownerKeyInStore(partition: number): string {
  return `${OWNER_IN_STORE}${partitionName(partition)}`;
}

export function partitionPrefix(partition: number): string {
  return `data/${partitionName(partition)}/`;
}

/** Where a member keeps a record of its loop. */
export function clusterKeyOf(key: string, memberId: string): string {
  if (key === CLOCK_KEY) return `${CLOCKS}${memberId}`;
  if (key.startsWith(OWNER_IN_STORE)) return `${OWNERS}${key.slice(OWNER_IN_STORE.length)}`;
  const { account, kind, service } = partsOf(key);
  if (kind === "audit") return `${AUDIT}${key}`;
  if (kind !== "service" && kind !== "delivery") return `${COMMON}${key}`;
  return `${partitionPrefix(partitionOf(account, service!))}${key}`;
}
