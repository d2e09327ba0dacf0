import { PARTITIONS, sharesOf } from "./partitions.js";
import { isSame, type MemberRecord, type OwnerRecord, type Seen } from "./records.js";

/** Hints come in swarms: looks are so far apart at least, and a beat at most. */
export const HINT_MS_MIN = 20;
/** Each change is hinted to all members, and each look reads what all have: more of them look less often. */
const HINT_MS_A_MEMBER = 5;

/** All that a member knows of its cluster: what one transaction has read. */
export interface Look {
  readonly members: ReadonlyMap<string, Seen<MemberRecord>>;
  /** By partition; null: there is no record. */
  readonly owners: readonly (Seen<OwnerRecord> | null)[];
  /** Partitions whose record cannot be read. */
  readonly unknown: ReadonlySet<number>;
  /** By this member's monotonic clock: before the look was sent, and after its answer came. */
  readonly sentMs: number;
  readonly receivedMs: number;
}

/** A partition whose owner is gone, and that is ours to take. */
export interface Claim {
  readonly partition: number;
  /** The record that must still be there; null: none, it was never served. */
  readonly before: Seen<OwnerRecord> | null;
}

export interface Plan {
  /** Members whose beat stood still for a whole lease. */
  readonly fence: readonly { readonly id: string; readonly bytes: Uint8Array }[];
  readonly claim: readonly Claim[];
  /** Partitions that are ours, and not served yet. */
  readonly takeUp: readonly number[];
  /** Partitions that we serve, by the member that they go to. */
  readonly handOver: ReadonlyMap<string, readonly number[]>;
}

interface Known {
  readonly bytes: Uint8Array;
  /** When the first answer with these bytes came. */
  readonly sinceMs: number;
}

/**
 * What to do about the other members and the partitions. Reads no clock: looks bring their times along.
 */
export class Membership {
  #known = new Map<string, Known>();
  #look: Look | null = null;

  get look(): Look | null {
    return this.#look;
  }

  /** How far looks are apart at least for which a hint is the reason. */
  get hintMs(): number {
    return Math.max(HINT_MS_MIN, HINT_MS_A_MEMBER * (this.#look?.members.size ?? 0));
  }

  /** Looks come in the order in which they were sent. */
  saw(look: Look): void {
    const known = new Map<string, Known>();
    for (const [id, { bytes }] of look.members) {
      const before = this.#known.get(id);
      const isSilent = before !== undefined && isSame(before.bytes, bytes);
      known.set(id, isSilent ? before : { bytes, sinceMs: look.receivedMs });
    }
    this.#known = known;
    this.#look = look;
  }

  /** How long from now another member's silence is a whole lease, at the earliest, if it stays silent. */
  silentInMs(self: string, nowMs: number): number {
    let atMs = Number.POSITIVE_INFINITY;
    for (const [id, { record }] of this.#look?.members ?? [])
      if (id !== self) atMs = Math.min(atMs, this.#known.get(id)!.sinceMs + record.leaseMs);
    return Math.max(0, atMs - nowMs);
  }

  /** For how long a member's record has not changed, as far as is known: to the moment when the last look was sent. */
  silentMs(id: string): number {
    const known = this.#known.get(id);
    if (known === undefined || this.#look === null) return 0;
    return Math.max(0, this.#look.sentMs - known.sinceMs);
  }

  /** Whether there is another member that may be given something, and was not silent for so long. */
  hasHeir(self: string, silentMsMax: number): boolean {
    return [...(this.#look?.members ?? [])].some(
      ([id, { record }]) =>
        id !== self && record.isReady && !record.isLeaving && this.silentMs(id) < silentMsMax,
    );
  }

  /**
   * @param self our id
   * @param isReady we may be given more
   * @param serves whether we serve that partition now
   */
  plan(self: string, isReady: boolean, serves: (partition: number) => boolean): Plan {
    const { members, owners, unknown } = this.#look!;
    const fence = [...members]
      .filter(([id, { record }]) => id !== self && this.silentMs(id) >= record.leaseMs)
      .map(([id, { bytes }]) => ({ id, bytes }));
    const silent = new Set(fence.map(({ id }) => id));
    // Whoever is about to be fenced gets nothing; what it owns is claimed once it is gone.
    const live = [...members].filter(
      ([id, { record }]) => record.isReady && !record.isLeaving && !silent.has(id),
    );
    const shares = sharesOf(live.map(([id, { record }]) => ({ id, url: record.url })));
    const claim: Claim[] = [];
    const takeUp: number[] = [];
    const handOver = new Map<string, number[]>();
    for (let partition = 0; partition < PARTITIONS; partition++) {
      if (unknown.has(partition)) continue;
      const before = owners[partition] ?? null;
      const owner = before?.record.member ?? null;
      const share = shares[partition] ?? null;
      if (before !== null && owner === self) {
        if (before.record.leaseMs !== undefined) takeUp.push(partition);
        else if (share !== null && share !== self && serves(partition))
          listed(handOver, share).push(partition);
      } else if (isReady && share === self && (owner === null || !members.has(owner)))
        claim.push({ partition, before });
    }
    return { fence, claim, takeUp, handOver };
  }
}

function listed<K, V>(map: Map<K, V[]>, key: K): V[] {
  const list = map.get(key) ?? [];
  map.set(key, list);
  return list;
}
