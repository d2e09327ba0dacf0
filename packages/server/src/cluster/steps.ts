import {
  CLOCK_KEY,
  FLOOR_KEY,
  type FloorRecord,
  type Loop,
  type OutsideRecord,
  type ServiceKey,
} from "../loop/index.js";
import { type Compare, type Etcd, endOf, type Op } from "../store/etcd-api.js";
import { decodeRecord } from "../store/index.js";
import type { Identity } from "./identity.js";
import {
  CLOCKS,
  COMMON,
  HEADS,
  KEEPERS_PARTITION,
  ownerKeyInStore,
  partitionPrefix,
  STAGED,
} from "./keys.js";
import type { Claim, Plan } from "./membership.js";
import { fencedBy, type Part, readKey, readParts, readThrough, redoPart } from "./part.js";
import { partitionName, partitionOf } from "./partitions.js";
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
import type { ClusterTotals } from "./totals.js";
import { Words } from "./words.js";

/** A claim has a condition and a change, and a transaction 128 of each at most. */
const CLAIMS_A_TXN = 60;
/** With the sessions of their services a batch of so many is mostly one transaction. */
const HAND_OVERS_A_BATCH = 48;
const TAKEN_UP_AT_ONCE = 32;
/** Some tens of milliseconds. */
const RECORDS_AT_ONCE = 5_000;
/** Records that are read at once of what is common: mostly all of it. */
const COMMON_PAGE = 4_000;

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
  readonly onCommon?: ((read: () => Promise<readonly OutsideRecord[]>) => Promise<void>) | undefined;
  /** Lets others have their turn of the event loop. */
  pause(): Promise<void>;
  /** Still what this member is. */
  isNow(self: Identity): boolean;
  /** What is served where has changed. */
  changed(): void;
}

/** What a member does about the others and the partitions, one step after the other. */
export class Steps {
  readonly words: Words;
  readonly #host: StepsHost;
  /** Members that are gone, and whose partitions were claimed here: what they have left is removed once nobody needs it. */
  readonly #gone = new Set<string>();
  /** Partitions of which it was said that they cannot be served. */
  readonly #failing = new Set<number>();

  constructor(host: StepsHost) {
    this.#host = host;
    this.words = new Words(host.at);
  }

  /**
   * Takes what others have changed of what is common, until nothing newer is known. By itself, whatever else is under way: a key that was
   * revoked ends within a second (A2). @returns whether there was something
   */
  async follow(self: Identity): Promise<boolean> {
    if (self.following !== null || isCommonRead(self)) return false;
    self.following = this.#follow(self).finally(() => {
      self.following = null;
    });
    return self.following;
  }

  async #follow(self: Identity): Promise<boolean> {
    try {
      while (this.#isNow(self) && !isCommonRead(self)) {
        const version = self.newCommonVersion;
        await this.#host.onCommon?.(() => this.#common(self));
        self.commonVersion = version;
      }
    } catch (err) {
      // The next look asks again.
      if (this.#isNow(self)) this.#host.log.warn({ err }, "what all members share could not be read");
      return false;
    }
    return true;
  }

  /** All that the last look asks for. @returns whether another look is due. @throws Error when a step came to nothing */
  async take(self: Identity, loop: Loop): Promise<boolean> {
    // Nothing is served before what all share was read once: keys, and where the numbers of new services begin (F3).
    if (self.commonVersion === null && self.newCommonVersion !== null) return false;
    const isReady = loop.ready && !self.isLeaving;
    const plan = self.membership.plan(self.id, isReady, (partition) => self.served.has(partition));
    // Whoever comes to keep what is common must know what was kept before: of this look, and not of one that comes meanwhile.
    const isKeeperToBe = isCommonRead(self);
    const takeUp = plan.takeUp.filter(({ partition }) => isKeeperToBe || partition !== KEEPERS_PARTITION);
    let hasChanged = false;
    for (const each of plan.fence) hasChanged = (await this.#fence(self, each)) || hasChanged;
    hasChanged = (await this.#claim(self, plan.claim)) || hasChanged;
    hasChanged = (await this.#takeUp(self, loop, takeUp)) || hasChanged;
    hasChanged = (await this.#handOver(self, loop, plan)) || hasChanged;
    if (!hasChanged) await this.#forget(self);
    return hasChanged;
  }

  async #common(self: Identity): Promise<readonly OutsideRecord[]> {
    const [part] = await readParts(fencedBy(this.#host.etcd, this.words, self.id), [COMMON], COMMON_PAGE);
    if (part instanceof Error) throw part;
    const { outside } = part!;
    const floor = outside.find(({ key }) => key === FLOOR_KEY);
    if (floor !== undefined) self.floor = floor.value as FloorRecord;
    return outside;
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

  /** Reads what is stored of partitions that are ours, and serves them. */
  async #takeUp(self: Identity, loop: Loop, wanted: Plan["takeUp"]): Promise<boolean> {
    const ours = wanted.filter(
      ({ partition, owner }) => owner.record.epoch > (self.wrote.get(partition)?.epoch ?? 0),
    );
    if (ours.length === 0) return false;
    let hasChanged = false;
    for (const { partition, owner } of ours) {
      if (owner.record.redo === undefined) continue;
      hasChanged = (await this.#tried(partition, () => this.#redo(self, partition, owner))) || hasChanged;
    }
    const whole = ours.filter(({ owner }) => owner.record.redo === undefined);
    const prefixes = whole.map(({ partition }) => partitionPrefix(partition));
    // What was read of some is served before the next are read: a lease goes on there.
    for (let from = 0; from < whole.length; from += TAKEN_UP_AT_ONCE) {
      const some = prefixes.slice(from, from + TAKEN_UP_AT_ONCE);
      const parts = await readParts(fencedBy(this.#host.etcd, this.words, self.id), some);
      const served: Promise<boolean>[] = [];
      let size = 0;
      for (const [index, part] of parts.entries()) {
        if (!this.#isNow(self)) return false;
        const each = whole[from + index]!;
        served.push(
          this.#tried(each.partition, async () => {
            if (part instanceof Error) throw part;
            size += part.size;
            await this.#serve(self, loop, each, part);
          }),
        );
        // Taking up blocks the process, which has to beat and to answer.
        if (size < RECORDS_AT_ONCE) continue;
        size = 0;
        await this.#host.pause();
      }
      hasChanged = (await Promise.all(served)).includes(true) || hasChanged;
    }
    if (whole.length > 0) this.#host.log.info({ partitions: self.served.size }, "serves more partitions");
    return hasChanged;
  }

  /** One partition that cannot be served is no reason not to serve the others. */
  async #tried(partition: number, step: () => Promise<void>): Promise<boolean> {
    try {
      await step();
      this.#failing.delete(partition);
      return true;
    } catch (err) {
      const name = partitionName(partition);
      if (!this.#failing.has(partition))
        this.#host.log.error(
          { err, partition: name },
          "a partition cannot be served: it is tried again and again",
        );
      this.#failing.add(partition);
      return false;
    }
  }

  async #serve(
    self: Identity,
    loop: Loop,
    { partition, owner }: Plan["takeUp"][number],
    part: Part,
  ): Promise<void> {
    const offsetMs = owner.record.leaseMs! - loop.leaseMs;
    const record: OwnerRecord = { member: self.id, epoch: owner.record.epoch + 1, offsetMs };
    const last = { ...written(ownerKey(partition), record), key: ownerKeyInStore(partition) };
    await loop.takeUp(part.services, part.outside, offsetMs, [last]);
    if (!this.#isNow(self)) return;
    this.#host.totals.takeUps++;
    self.served.set(partition, offsetMs);
    self.wrote.set(partition, { epoch: record.epoch, url: this.#host.url });
    this.#host.changed();
  }

  /** Brings a batch to its end that counts, and that its member had not yet put in its place. */
  async #redo(self: Identity, partition: number, { record, bytes }: Seen<OwnerRecord>): Promise<void> {
    const is = this.words.is(ownerKey(partition), bytes);
    const { redo, ...rest } = record;
    const fenced = fencedBy(this.#host.etcd, this.words, self.id);
    for (const former of redo!) {
      const name = `redo/${former}/${record.epoch}`;
      await redoPart(fenced, { former, partition, owner: is, name });
    }
    await this.#host.etcd.txn({
      compare: [this.words.isThere(self.id), is],
      ops: [this.words.put(written(ownerKey(partition), { ...rest, epoch: record.epoch + 1 }))],
    });
  }

  async #handOver(self: Identity, loop: Loop, { handOver }: Plan): Promise<boolean> {
    const { members, owners } = self.membership.look!;
    for (const [to, partitions] of handOver) {
      const { url } = members.get(to)!.record;
      for (let from = 0; from < partitions.length && this.#isNow(self); from += HAND_OVERS_A_BATCH) {
        const some = new Set(partitions.slice(from, from + HAND_OVERS_A_BATCH));
        const last = [...some].map((partition) => {
          const epoch = owners[partition]!.record.epoch + 1;
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
        const isIn = ({ account, id }: ServiceKey) => some.has(partitionOf(account, id));
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
    return handOver.size > 0;
  }

  #isNow(self: Identity): boolean {
    return this.#host.isNow(self);
  }
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
