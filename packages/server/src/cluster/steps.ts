import {
  CLOCK_KEY,
  FLOOR_KEY,
  type FloorRecord,
  type Loop,
  type LoopRuntime,
  type OutsideChange,
  type OutsideRead,
  type ServiceKey,
} from "../loop/index.js";
import { type Compare, type Etcd, EtcdError, endOf, type Op } from "../store/etcd-api.js";
import { slicesOf } from "../store/etcd-slices.js";
import { decodeRecord } from "../store/index.js";
import { type CommonRead, readCommon } from "./common.js";
import type { Identity } from "./identity.js";
import { CLOCKS, HEADS, KEEPERS_PARTITION, ownerKeyInStore, STAGED } from "./keys.js";
import type { Claim, Plan } from "./membership.js";
import { fencedBy, readKey, readThrough } from "./part.js";
import { partitionOfKey } from "./partitions.js";
import {
  fenceKey,
  isSame,
  memberKey,
  type OwnerRecord,
  ownerKey,
  type Seen,
  shareKey,
  written,
} from "./records.js";
import { TakeUps } from "./take-ups.js";
import type { ClusterTotals } from "./totals.js";
import { Words } from "./words.js";

/** A claim has a condition and a change, and a transaction 128 of each at most. */
const CLAIMS_A_TXN = 60;
/**
 * What a hand-over writes at once is one transaction, unless one partition alone has more. Nobody is served while it is on its way, and whoever is not in it has
 * to wait for nothing.
 */
const HANDED_OVER_AT_ONCE = { itemsMax: 110, bytesMax: 110 };

export interface StepsHost {
  readonly etcd: Etcd;
  readonly at: string;
  readonly url: string;
  readonly totals: ClusterTotals;
  readonly log: {
    info(facts: object, text: string): void;
    warn(facts: object, text: string): void;
    error(facts: object, text: string): void;
  };
  readonly onCommon?: ((read: () => Promise<OutsideRead>) => Promise<void>) | undefined;
  readonly runtime: Pick<LoopRuntime, "randomId">;
  /** Lets others have their turn of the event loop. */
  pause(): Promise<void>;
  /** The next look, or the time of one. */
  looked(): Promise<void>;
  /** Still what this member is. */
  isNow(self: Identity): boolean;
  /** What is served where has changed. */
  changed(): void;
  /** Another look is due. */
  lookSoon(): void;
}

/** What a member does about the others and the partitions, one step after the other. */
export class Steps {
  readonly words: Words;
  readonly #host: StepsHost;
  /** Members that are gone, and whose partitions were claimed here: what they have left is removed once nobody needs it. */
  readonly #gone = new Set<string>();
  readonly #takeUps: TakeUps;

  constructor(host: StepsHost) {
    this.#host = host;
    this.words = new Words(host.at);
    this.#takeUps = new TakeUps(host, this.words);
  }

  /**
   * Takes what others have changed of what is common, until nothing newer is known. By itself, whatever else is under way: a key that was
   * revoked ends within a second (A2).
   * @returns whether there was something
   */
  async follow(self: Identity): Promise<boolean> {
    if (self.following !== null || isCommonRead(self)) return false;
    self.following = this.#follow(self).finally(() => {
      self.following = null;
    });
    return self.following;
  }

  /**
   * Resolves when all that members share is known as it was at the join, or later. Before the loop runs: no key may work then that was revoked
   * while this member was none, and no request is refused whose key is only not read yet.
   * @throws Error when it cannot be taken as it is, such as DamagedRecordError (R9)
   */
  async begun(self: Identity): Promise<void> {
    while (this.#isNow(self) && !isCommonRead(self)) {
      await (self.following ?? this.#host.looked());
      if (self.refused !== null) throw self.refused;
    }
  }

  async #follow(self: Identity): Promise<boolean> {
    let before = self.commonVersion;
    try {
      while (this.#isNow(self) && !isCommonRead(self)) {
        const version = self.newCommonVersion;
        let found = null as CommonRead | null;
        const read = async () => {
          const common = await this.#common(self, before, version);
          // It may be older than what this member has read since, by its next id.
          if (!this.#isNow(self)) throw new Error("This member is another one by now.");
          found = common;
          return common;
        };
        try {
          await this.#host.onCommon?.(read);
        } catch (err) {
          // It could not be read: the next look asks for the same again.
          if (found === null || found.isWhole) throw err;
          this.#host.log.warn(
            { err },
            "what others have changed does not go with what is known: all is read",
          );
          before = null;
          continue;
        }
        // What could be read counts, such as a revocation; the rest is asked for again.
        if (found?.damage !== undefined) throw found.damage;
        self.commonVersion = version;
        before = version;
      }
      self.refused = null;
    } catch (err) {
      self.refused = err instanceof EtcdError ? null : err;
      if (this.#isNow(self)) this.#host.log.warn({ err }, "what all members share could not be read");
      return false;
    }
    return true;
  }

  /**
   * Takes up what a hint says to be ours, if it is: sooner than the next look would say so. Not the keeper's partition, for which more must be known.
   * @throws Error as `take`
   */
  async takeHinted(self: Identity, loop: Loop, hinted: readonly number[]): Promise<void> {
    const some = hinted.filter((partition) => partition !== KEEPERS_PARTITION);
    if (some.length > 0 && isBegun(self) && (await this.#takeUps.take(self, loop, some)))
      this.#host.lookSoon();
  }

  /** All that the last look asks for. @returns whether another look is due. @throws Error when a step came to nothing */
  async take(self: Identity, loop: Loop): Promise<boolean> {
    if (!isBegun(self)) return false;
    const isReady = loop.ready && !self.isLeaving;
    const plan = self.membership.plan(self.id, isReady, (partition) => self.served.has(partition));
    // Whoever comes to keep what is common must know what was kept before: of this look, and not of one that comes meanwhile.
    const isKeeperToBe = isCommonRead(self);
    const takeUp = plan.takeUp.filter((partition) => isKeeperToBe || partition !== KEEPERS_PARTITION);
    const { owners } = self.membership.look!;
    // Since this look its own redo may have brought more.
    const isAsSeen = (partition: number, { record }: Seen<OwnerRecord>) =>
      partition !== KEEPERS_PARTITION || record.epoch === owners[partition]?.record.epoch;
    let hasChanged = false;
    for (const each of plan.fence) hasChanged = (await this.#fence(self, each)) || hasChanged;
    hasChanged = (await this.#claim(self, plan.claim)) || hasChanged;
    hasChanged = (await this.#takeUps.take(self, loop, takeUp, isAsSeen)) || hasChanged;
    hasChanged = (await this.#handOver(self, loop, plan)) || hasChanged;
    if (!hasChanged) await this.#forget(self);
    return hasChanged;
  }

  async #common(self: Identity, before: Uint8Array | null, now: Uint8Array | null): Promise<CommonRead> {
    const member = fencedBy(this.#host.etcd, this.words, self.id);
    const common = await readCommon(member, before, now, () => this.#host.pause());
    const records: readonly OutsideChange[] = common.isWhole ? common.records : common.changes;
    const floor = records.find(({ key }) => key === FLOOR_KEY)?.value;
    if (floor != null) self.floor = floor as FloorRecord;
    const { totals } = this.#host;
    if (common.isWhole) totals.commonReads.whole++;
    else totals.commonReads.changes++;
    return common;
  }

  async #fence(self: Identity, { id, bytes }: Plan["fence"][number]): Promise<boolean> {
    const { etcd, log } = this.#host;
    const { words } = this;
    const outcome = await etcd.txn({
      compare: [this.words.isThere(self.id), this.words.is(memberKey(id), bytes)],
      ops: [memberKey(id), fenceKey(id), shareKey(id)].map((key) => words.delete(key)),
    });
    if (outcome.kind !== "applied") return false;
    this.#host.totals.fences++;
    log.warn({ member: id }, "a member was silent for a whole lease: it is fenced");
    return true;
  }

  async #claim(self: Identity, claims: readonly Claim[]): Promise<boolean> {
    const { etcd } = this.#host;
    let hasChanged = false;
    for (let from = 0; from < claims.length && this.#isNow(self); from += CLAIMS_A_TXN) {
      const some = claims.slice(from, from + CLAIMS_A_TXN);
      const formers = [...new Set(some.flatMap(({ before }) => before?.record.member ?? []))];
      const left = await this.#leftBy(self, formers);
      for (const former of formers) this.#gone.add(former);
      const compare: Compare[] = [
        this.words.isThere(self.id),
        ...formers.map((former) => this.words.absent(fenceKey(former))),
      ];
      const ops: Op[] = [];
      for (const { partition, before } of some) {
        const key = ownerKey(partition);
        compare.push(before === null ? this.words.absent(key) : this.words.is(key, before.bytes));
        ops.push(this.words.put(written(key, claimOf(self.id, before?.record ?? null, left))));
      }
      const outcome = await etcd.txn({ compare, ops });
      if (outcome.kind !== "applied") continue;
      this.#host.totals.claims += some.length;
      hasChanged = true;
    }
    return hasChanged;
  }

  /** What members that are gone have left: it is final. */
  async #leftBy(self: Identity, ids: readonly string[]): Promise<ReadonlyMap<string, Left>> {
    const keys = ids.flatMap((id) => [`${CLOCKS}${id}`, `${HEADS}${id}`]);
    const found = await readThrough(fencedBy(this.#host.etcd, this.words, self.id), keys);
    const left = new Map<string, Left>();
    for (const [index, id] of ids.entries()) {
      const [clock, head] = [found[2 * index]?.[0], found[2 * index + 1]?.[0]];
      const clockMs = clock === undefined ? 0 : decoded<{ nowMs: number }>(CLOCK_KEY, clock.value).nowMs;
      const staged =
        head === undefined
          ? 0
          : decoded<{ staged: number }>(`${this.words.at}${HEADS}${id}`, head.value).staged;
      left.set(id, { clockMs, hasRedo: staged > 0 });
    }
    return left;
  }

  /** Removes what is left of members that no record of an owner names any more. */
  async #forget(self: Identity): Promise<void> {
    const { etcd } = this.#host;
    const { members, owners } = self.membership.look!;
    const needed = new Set(owners.flatMap((owner) => [owner?.record.member, ...(owner?.record.redo ?? [])]));
    for (const id of this.#gone) {
      if (needed.has(id) || members.has(id) || !this.#isNow(self)) continue;
      const staged = `${this.words.at}${STAGED}${id}/`;
      const outcome = await etcd.txn({
        compare: [this.words.isThere(self.id), this.words.absent(fenceKey(id))],
        ops: [
          ...[`${CLOCKS}${id}`, `${HEADS}${id}`, readKey(id)].map((key) => this.words.delete(key)),
          { delete: staged, end: endOf(staged) },
        ],
      });
      if (outcome.kind === "applied") this.#gone.delete(id);
    }
  }

  /** Until something else is due: another look may say that whoever is given these is gone, and a hint that others wait. */
  async #handOver(self: Identity, loop: Loop, { handOver }: Plan): Promise<boolean> {
    const look = self.membership.look!;
    // A look may be older than what came here by a hint.
    const isLast = (partition: number) =>
      self.wrote.get(partition)?.epoch === look.owners[partition]!.record.epoch;
    let hasChanged = false;
    for (const [to, partitions] of handOver) {
      const { url } = look.members.get(to)!.record;
      const sizes = sizesOf(loop);
      const sizeOf = (partition: number) => 1 + (sizes.get(partition) ?? 0);
      for (const slice of slicesOf(partitions.filter(isLast), sizeOf, HANDED_OVER_AT_ONCE)) {
        if (!this.#isNow(self) || self.isOutOfTime) return hasChanged;
        if (hasChanged && (self.membership.look !== look || self.hinted.size > 0)) return true;
        hasChanged = true;
        const some = new Set(slice);
        const last = [...some].map((partition) => {
          const epoch = look.owners[partition]!.record.epoch + 1;
          const record: OwnerRecord = {
            member: to,
            epoch,
            leaseMs: loop.leaseMs + self.served.get(partition)!,
          };
          self.wrote.set(partition, { epoch, url });
          return { ...written(ownerKey(partition), record), key: ownerKeyInStore(partition) };
        });
        for (const partition of some) self.handingOver.add(partition);
        this.#host.changed();
        const isIn = (key: ServiceKey) => some.has(partitionOfKey(key));
        await loop.handOver(isIn, last, () => {
          for (const partition of some) {
            self.served.delete(partition);
            self.handingOver.delete(partition);
          }
        });
        this.#host.totals.handOvers += some.size;
        this.#host.log.info({ partitions: some.size, to: url }, "handed partitions over");
        this.#host.changed();
      }
    }
    return hasChanged;
  }

  #isNow(self: Identity): boolean {
    return this.#host.isNow(self);
  }
}

/** How much a clean stop writes of the services of each partition (R5), at most. */
function sizesOf(loop: Loop): ReadonlyMap<number, number> {
  const sizes = new Map<number, number>();
  for (const { key, engine } of loop.services.seen(null)) {
    const partition = partitionOfKey(key);
    const { holds, sessions } = engine.counts;
    sizes.set(partition, (sizes.get(partition) ?? 0) + 2 + holds + sessions);
  }
  return sizes;
}

/** Nothing is served before what all share was read once: keys, and where the numbers of new services begin (F3). */
function isBegun({ commonVersion, newCommonVersion }: Identity): boolean {
  return commonVersion !== null || newCommonVersion === null;
}

export function isCommonRead({ commonVersion, newCommonVersion }: Identity): boolean {
  if (newCommonVersion === null) return true;
  return commonVersion !== null && isSame(commonVersion, newCommonVersion);
}

interface Left {
  readonly clockMs: number;
  readonly hasRedo: boolean;
}

/** The record of a claim: time stands still until the partition is served. */
function claimOf(member: string, before: OwnerRecord | null, left: ReadonlyMap<string, Left>): OwnerRecord {
  if (before === null) return { member, epoch: 1, leaseMs: 0 };
  const { clockMs, hasRedo } = left.get(before.member)!;
  const redo = [...(before.redo ?? []), ...(hasRedo ? [before.member] : [])];
  const leaseMs = before.leaseMs ?? before.offsetMs! + clockMs;
  return { member, epoch: before.epoch + 1, leaseMs, ...(redo.length > 0 ? { redo } : {}) };
}

function decoded<T>(key: string, value: Uint8Array): T {
  return decodeRecord({ key, value }) as T;
}
