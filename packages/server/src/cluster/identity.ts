import type { FloorRecord, Place } from "../loop/index.js";
import type { EtcdEntry } from "../store/etcd-api.js";
import { OWNERS } from "./keys.js";
import { Membership } from "./membership.js";
import { type OwnerRecord, ownerKey, seen } from "./records.js";
import type { Words } from "./words.js";

/** What a member is from one join to the next. After a fence, or an outcome that nobody knows, it is another one. */
export class Identity {
  readonly id: string;
  readonly membership = new Membership();
  beat = 0;
  isBeating = false;
  /** The last one that was committed. */
  appliedBeat = 0;
  /** Its record as etcd has it, as far as is known. */
  bytes: Uint8Array = new Uint8Array();
  isLeaving = false;
  /** It has tried to give everything away for as long as it may: nothing more is begun. */
  isOutOfTime = false;
  /** Served partitions, and what is added to the lease clock for each. */
  readonly served = new Map<number, number>();
  /** Epochs of the records by which they came here. */
  readonly epochs = new Map<number, number>();
  /** Read, and not yet durably ours. */
  readonly takingUp = new Set<number>();
  /** Resolves when those with very much are served: one after the other, for the sake of memory. */
  large: Promise<void> = Promise.resolve();
  /** Partitions with very much that were not begun, as this member leaves: the next one that gets them is sooner done with it. */
  readonly left = new Set<number>();
  /** Partitions that are ours by what a hint says: it is only a reason to read. */
  readonly hinted = new Set<number>();
  /** On their way to another member: nobody is told anything of them. */
  readonly handingOver = new Set<number>();
  trustedUntilMs = Number.NEGATIVE_INFINITY;
  trustedUntilWallMs = Number.NEGATIVE_INFINITY;
  /** What this member has written of owners: what an older look says of them counts no more. */
  readonly wrote = new Map<number, { readonly epoch: number; readonly url: string }>();
  /** Of what is common: as it was read last, and as it was seen last. */
  commonVersion: Uint8Array | null = null;
  newCommonVersion: Uint8Array | null = null;
  /** While it is read. */
  following: Promise<boolean> | null = null;
  /** Why it could not be taken the last time, when it is not that etcd did not answer. */
  refused: unknown = null;
  /** What it shares with the others, as etcd has it; null: nothing; undefined: not known. */
  share: Uint8Array | null | undefined = null;

  /** Where the numbers of new services begin (F3). Known before anything is claimed. */
  floor: FloorRecord | null = null;

  constructor(id: string) {
    this.id = id;
  }

  /** Hears a hint. @returns whether some partitions are said to be ours, and on their way */
  heard(entries: readonly EtcdEntry[], words: Words): boolean {
    for (const { key, value } of entries) {
      const partition = Number.parseInt(words.nameIn(key, OWNERS), 16);
      if (isOwnerOnItsWay(partition, value, this.id)) this.hinted.add(partition);
    }
    return this.hinted.size > 0;
  }

  /** Where a partition is served, as far as this member knows. */
  placeOf(partition: number): Place {
    if (this.handingOver.has(partition)) return "nowhere";
    if (this.served.has(partition)) return "here";
    const { members, owners } = this.membership.look ?? { members: null, owners: [] };
    const { member: owner, epoch } = owners[partition]?.record ?? { member: null, epoch: 0 };
    const wrote = this.wrote.get(partition);
    if (wrote !== undefined && wrote.epoch > epoch) return wrote;
    if (owner === null || owner === this.id) return "nowhere";
    const url = members?.get(owner)?.record.url;
    return url === undefined ? "nowhere" : { url, epoch };
  }
}

/** That is deleted, or cannot be read: what is true of it a look will say. */
function isOwnerOnItsWay(partition: number, value: Uint8Array, member: string): boolean {
  try {
    const { record } = seen<OwnerRecord>(ownerKey(partition), value);
    return record.member === member && record.leaseMs !== undefined;
  } catch {
    return false;
  }
}
