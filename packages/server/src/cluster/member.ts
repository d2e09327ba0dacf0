import {
  CLOCK_KEY,
  type Loop,
  type LoopRuntime,
  type Place,
  type Placement,
  type ServiceKey,
} from "../loop/index.js";
import { openEtcdStore } from "../store/etcd.js";
import { type Compare, type Etcd, type EtcdEntry, endOf, type Op } from "../store/etcd-api.js";
import { decodeRecord, type Store } from "../store/index.js";
import {
  CLOCKS,
  COMMON_VERSION,
  FENCES,
  HEADS,
  KEEPERS_PARTITION,
  MEMBERS,
  OWNERS,
  ownerKeyInStore,
  partitionPrefix,
} from "./keys.js";
import { layoutOf } from "./layout.js";
import { type Claim, type Look, Membership, type Plan } from "./membership.js";
import { type Fenced, type Part, readKey, readParts, readThrough, redoPart } from "./part.js";
import { PARTITIONS, partitionOf } from "./partitions.js";
import {
  fenceKey,
  isSame,
  type MemberRecord,
  memberKey,
  type OwnerRecord,
  ownerKey,
  type Seen,
  seen,
  written,
} from "./records.js";

/** How often a member writes its record, and looks at those of the others. */
const BEAT_MS = 500;
/** After a beat that came to nothing. */
const BEAT_AGAIN_MS = 100;
/** Hints come in swarms. */
const HINT_MS_MIN = 20;
/** What of its lease a member does not use: clocks may differ in their rates, by 2 % each (L2). */
const MARGIN = 0.1;
/** A claim has a condition and a change, and a transaction 128 of each at most. */
const CLAIMS_A_TXN = 60;
/** With the sessions of their services a batch of so many is mostly one transaction. */
const HAND_OVERS_A_BATCH = 48;
/** Beats are not watched: each member would beat for each beat of all others. */
const WATCHED = [OWNERS, FENCES, COMMON_VERSION];
const TAKEN_UP_AT_ONCE = 32;
/** Ids of joins of which nobody knows whether they came through. */
const FORMER_MAX = 30;
/** How long a member that leaves waits for others to be given what it serves. */
const LEAVE_MS_MAX = 15_000;

export interface MemberOptions {
  readonly etcd: Etcd;
  /** What all keys of this cluster begin with in etcd, such as `/lockdb/`. */
  readonly at: string;
  /** Where clients and the other members reach this one. */
  readonly url: string;
  /** Of this LockDB. */
  readonly version: string;
  /** How long a member may be silent before its partitions are taken, in milliseconds. Default: 5,000. The same at all members. */
  readonly leaseMs?: number;
  readonly runtime: LoopRuntime;
  readonly log: {
    info(facts: object, text: string): void;
    warn(facts: object, text: string): void;
    error(facts: object, text: string): void;
  };
  /** What is common to all members was changed, and is to be read anew from the store. */
  readonly onCommon?: (store: Store) => Promise<void>;
}

/** What a member is from one join to the next. After a fence, or an outcome that nobody knows, it is another one. */
class Identity {
  readonly id: string;
  readonly membership: Membership;
  beat = 0;
  /** Its record as etcd has it, as far as is known. */
  bytes: Uint8Array = new Uint8Array();
  isLeaving = false;
  /** Served partitions, and what is added to the lease clock for each. */
  readonly served = new Map<number, number>();
  /** On their way to another member: nobody is told anything of them. */
  readonly handingOver = new Set<number>();
  trustedUntilMs = Number.NEGATIVE_INFINITY;
  trustedUntilWallMs = Number.NEGATIVE_INFINITY;
  /** What this member has written of owners: what an older look says of them counts no more. */
  readonly wrote = new Map<number, { readonly epoch: number; readonly url: string }>();
  /** Of what is common: as it was read last, and as it was seen last. */
  commonVersion: Uint8Array | null = null;
  newCommonVersion: Uint8Array | null = null;
  store: Store | null = null;

  constructor(id: string, leaseMs: number) {
    this.id = id;
    this.membership = new Membership({ leaseMs });
  }
}

/**
 * This server as a member of a cluster (decision 023): it beats, fences members that are silent, claims the partitions that are its share, and gives
 * those away that are not any more. What the loop asks of the cluster, it answers as its `Placement`.
 */
export class Member implements Placement {
  readonly #options: MemberOptions;
  readonly #leaseMs: number;
  readonly #listeners = new Set<() => void>();
  #loop: Loop | null = null;
  #self: Identity | null = null;
  /** Ids that may have records of ours: whoever joins anew removes them. */
  #former: string[] = [];
  #isClosed = false;
  #cancelTimer: () => void = () => {};
  #cancelTrustTimer: () => void = () => {};
  #unwatch: () => void = () => {};
  #isBeating = false;
  #isBeatWanted = false;
  #working: Promise<void> | null = null;
  #isWorkWanted = false;
  #lastBeatMs = Number.NEGATIVE_INFINITY;
  /** Told after each look. */
  #onLook: (() => void)[] = [];
  #urls: readonly string[] = [];

  constructor(options: MemberOptions) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? 5_000;
    this.#urls = [options.url];
  }

  // --- what the loop asks ---

  placeOf({ account, id }: ServiceKey): Place {
    return this.placeOfPartition(partitionOf(account, id));
  }

  placeOfPartition(partition: number): Place {
    const self = this.#self;
    if (self === null || self.handingOver.has(partition)) return "nowhere";
    if (self.served.has(partition)) return "here";
    const { members, owners } = self.membership.look ?? { members: null, owners: [] };
    const { member: owner, epoch } = owners[partition]?.record ?? { member: null, epoch: 0 };
    const wrote = self.wrote.get(partition);
    if (wrote !== undefined && wrote.epoch > epoch) return { url: wrote.url };
    if (owner === null || owner === self.id) return "nowhere";
    const url = members?.get(owner)?.record.url;
    return url === undefined ? "nowhere" : { url };
  }

  /** Who writes accounts and keys. */
  get keeper(): Place {
    return this.placeOfPartition(KEEPERS_PARTITION);
  }

  isTrusted(): boolean {
    const self = this.#self;
    if (self === null) return false;
    const { runtime } = this.#options;
    return runtime.monotonicMs() < self.trustedUntilMs && runtime.wallMs() < self.trustedUntilWallMs;
  }

  watch(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  get memberUrls(): readonly string[] {
    return this.#urls;
  }

  /** Of no member, before the first join. */
  get memberId(): string {
    return this.#self?.id ?? this.#former.at(-1) ?? "none";
  }

  offsetMsOf({ account, id }: ServiceKey): number {
    return this.#self?.served.get(partitionOf(account, id)) ?? 0;
  }

  // --- joining ---

  /**
   * Joins as a member that never was before, and gives the store that this one writes to. Tries for as long as it takes: the loop opens its store
   * with this, at first and after each failure.
   */
  async openStore(): Promise<Store> {
    this.#lose();
    const { runtime, log, etcd, at } = this.#options;
    for (;;) {
      if (this.#isClosed) throw new Error("This member has left its cluster.");
      const problem = await this.#join();
      if (problem === null) break;
      log.warn({ err: problem }, "the cluster cannot be joined yet");
      await new Promise<void>((resolve) => runtime.setTimer(resolve, BEAT_MS));
    }
    const self = this.#self!;
    const { fence } = this.#fenced(self);
    const guards = [{ key: `${at}${fence.key}`, value: fence.value }];
    const patienceMs = this.#leaseMs;
    self.store = await openEtcdStore({
      ...{ etcd, at, guards, patienceMs, layout: layoutOf(self.id), clock: runtime },
      opening: runtime.randomId(),
    });
    log.info({ member: self.id, url: this.#options.url }, "joined the cluster");
    return self.store;
  }

  async #join(): Promise<Error | null> {
    const { etcd, runtime, at } = this.#options;
    const id = runtime.randomId();
    const former = this.#former.slice(-FORMER_MAX);
    // It may come to be, also if nobody says so.
    this.#former.push(id);
    const self = new Identity(id, this.#leaseMs);
    const record = this.#recordOf(self);
    const [sentMs, sentWallMs] = [runtime.monotonicMs(), runtime.wallMs()];
    const gone = former.flatMap((each) => [fenceKey(each), memberKey(each)]);
    const outcome = await etcd.txn({
      compare: [this.#absent(fenceKey(id)), this.#absent(memberKey(id))],
      then: [
        this.#put(written(fenceKey(id), { member: id })),
        this.#put(record),
        ...gone.map((key): Op => ({ delete: `${at}${key}` })),
        ...this.#reads(),
      ],
    });
    if (outcome.kind === "refused") return new Error("Another member has the same random id.");
    if (outcome.kind !== "applied") return outcome.error;
    self.bytes = record.value;
    this.#former = [id];
    this.#self = self;
    this.#trust(self, sentMs, sentWallMs);
    this.#saw(self, outcome.gets, sentMs);
    // The loop reads what is common when it opens its store, which is later.
    self.commonVersion = self.newCommonVersion;
    const watches = WATCHED.map((area) => etcd.watch(`${at}${area}`, () => this.#hint()));
    this.#unwatch = () => {
      for (const end of watches) end();
    };
    this.#arm(BEAT_MS);
    return null;
  }

  /** From now on partitions are claimed. */
  start(loop: Loop): void {
    this.#loop = loop;
    this.#hint();
  }

  /** What it was, it is no more: another join makes it another one. */
  #lose(): void {
    this.#self = null;
    this.#cancelTimer();
    this.#cancelTrustTimer();
    this.#unwatch();
    this.#unwatch = () => {};
    this.#changed();
  }

  #isReady(self: Identity): boolean {
    return this.#loop?.ready === true && !self.isLeaving;
  }

  #recordOf(self: Identity) {
    const { url, version } = this.#options;
    const { beat, isLeaving, id } = self;
    const record: MemberRecord = { url, beat, isReady: this.#loop?.ready === true, isLeaving, version };
    return written(memberKey(id), record);
  }

  // --- beats ---

  /** Something may have changed: a look, soon. */
  #hint(): void {
    const { runtime } = this.#options;
    const sinceMs = runtime.monotonicMs() - this.#lastBeatMs;
    this.#arm(Math.max(0, HINT_MS_MIN - sinceMs));
  }

  #armedForMs = Number.POSITIVE_INFINITY;

  #arm(inMs: number): void {
    const { runtime } = this.#options;
    const atMs = runtime.monotonicMs() + inMs;
    if (this.#isBeating) {
      this.#isBeatWanted ||= inMs < BEAT_AGAIN_MS;
      return;
    }
    if (atMs >= this.#armedForMs) return;
    this.#cancelTimer();
    this.#armedForMs = atMs;
    const cancel = runtime.setTimer(() => void this.#beat(), inMs);
    this.#cancelTimer = () => {
      this.#armedForMs = Number.POSITIVE_INFINITY;
      cancel();
    };
  }

  /** Says that it lives, and looks at all others, in one transaction. */
  async #beat(): Promise<void> {
    this.#armedForMs = Number.POSITIVE_INFINITY;
    const self = this.#self;
    if (self === null || this.#isBeating) return;
    this.#isBeating = true;
    this.#isBeatWanted = false;
    const { etcd, runtime, at } = this.#options;
    this.#lastBeatMs = runtime.monotonicMs();
    self.beat++;
    const record = this.#recordOf(self);
    const [sentMs, sentWallMs] = [runtime.monotonicMs(), runtime.wallMs()];
    // The record is compared, too: a beat that was under way for long cannot come behind a later one and bring an old number back.
    const outcome = await etcd.txn({
      compare: [this.#isThere(self), this.#is(memberKey(self.id), self.bytes)],
      then: [this.#put(record), ...this.#reads()],
      else: [memberKey(self.id), fenceKey(self.id)].map((key) => ({ get: `${at}${key}` })),
    });
    this.#isBeating = false;
    if (this.#self !== self) {
      // It was held up by this one.
      if (this.#self !== null) this.#arm(0);
      return;
    }
    if (outcome.kind === "applied") {
      self.bytes = record.value;
      this.#trust(self, sentMs, sentWallMs);
      this.#saw(self, outcome.gets, sentMs);
      this.#arm(this.#isBeatWanted ? HINT_MS_MIN : BEAT_MS);
      return this.#work();
    }
    if (outcome.kind === "refused") {
      const [[own], [fence]] = outcome.gets as [EtcdEntry[], EtcdEntry[]];
      if (own === undefined || fence === undefined)
        return this.#distrust(self, "another member has fenced this one");
      // An earlier beat came through after all.
      self.bytes = own.value;
    }
    this.#arm(BEAT_AGAIN_MS);
  }

  /** From when it was sent, not from when the answer came: others count from when it was written. */
  #trust(self: Identity, sentMs: number, sentWallMs: number): void {
    const forMs = this.#leaseMs * (1 - MARGIN);
    self.trustedUntilMs = Math.max(self.trustedUntilMs, sentMs + forMs);
    self.trustedUntilWallMs = sentWallMs + forMs;
    this.#cancelTrustTimer();
    const restMs = Math.max(1, self.trustedUntilMs - this.#options.runtime.monotonicMs());
    this.#cancelTrustTimer = this.#options.runtime.setTimer(() => {
      if (this.#self === self && !this.isTrusted())
        this.#distrust(self, "etcd has not answered for most of this member's lease");
    }, restMs);
  }

  #distrust(self: Identity, why: string): void {
    if (this.#self !== self) return;
    this.#options.log.error({ member: self.id }, `no longer a member of the cluster: ${why}`);
    this.#lose();
    this.#loop?.distrust(new Error(`This member is out of its cluster: ${why}.`));
  }

  #saw(self: Identity, gets: readonly (readonly EtcdEntry[])[], sentMs: number): void {
    const members = new Map<string, Seen<MemberRecord>>();
    for (const { key, value } of gets[0] ?? []) {
      const id = this.#nameIn(key, MEMBERS);
      members.set(id, seen<MemberRecord>(memberKey(id), value));
    }
    const owners: (Seen<OwnerRecord> | null)[] = new Array(PARTITIONS).fill(null);
    for (const { key, value } of gets[1] ?? []) {
      const partition = Number.parseInt(this.#nameIn(key, OWNERS), 16);
      owners[partition] = seen<OwnerRecord>(ownerKey(partition), value);
    }
    const look: Look = { members, owners, sentMs, receivedMs: this.#options.runtime.monotonicMs() };
    const before = self.membership.look;
    self.membership.saw(look);
    self.newCommonVersion = gets[2]?.[0]?.value ?? null;
    if (before === null || hasChanged(before, look)) this.#changed();
    for (const told of this.#onLook.splice(0)) told();
  }

  #changed(): void {
    const members = [...(this.#self?.membership.look?.members.values() ?? [])];
    const urls = members
      .filter(({ record }) => record.isReady && !record.isLeaving)
      .map(({ record }) => record.url);
    if (urls.length > 0) this.#urls = [...new Set(urls)].sort();
    for (const changed of [...this.#listeners]) changed();
  }

  // --- what is to be done ---

  /** One step after the other. */
  #work(): void {
    this.#isWorkWanted = true;
    this.#working ??= this.#workOn().finally(() => {
      this.#working = null;
    });
  }

  async #workOn(): Promise<void> {
    while (this.#isWorkWanted) {
      this.#isWorkWanted = false;
      const self = this.#self;
      try {
        if (self !== null && this.#loop?.ready === true) await this.#workOnce(self, this.#loop);
      } catch (error) {
        if (this.#self === self)
          this.#options.log.warn({ err: error }, "a step in the cluster came to nothing, and is tried again");
      }
    }
  }

  async #workOnce(self: Identity, loop: Loop): Promise<void> {
    await this.#readCommon(self);
    if (this.#self !== self) return;
    const plan = self.membership.plan(self.id, this.#isReady(self), (partition) =>
      self.served.has(partition),
    );
    let hasChanged = false;
    for (const each of plan.fence) hasChanged = (await this.#fence(self, each)) || hasChanged;
    hasChanged = (await this.#claim(self, plan.claim)) || hasChanged;
    hasChanged = (await this.#takeUp(self, loop, plan.takeUp)) || hasChanged;
    hasChanged = (await this.#handOver(self, loop, plan)) || hasChanged;
    if (hasChanged) this.#hint();
  }

  async #readCommon(self: Identity): Promise<void> {
    const version = self.newCommonVersion;
    const { onCommon } = this.#options;
    if (version === null || onCommon === undefined) return;
    if (self.commonVersion !== null && isSame(version, self.commonVersion)) return;
    await onCommon(self.store!);
    self.commonVersion = version;
  }

  async #fence(self: Identity, { id, bytes }: Plan["fence"][number]): Promise<boolean> {
    const { etcd, log, at } = this.#options;
    const outcome = await etcd.txn({
      compare: [this.#isThere(self), this.#is(memberKey(id), bytes)],
      then: [memberKey(id), fenceKey(id)].map((key) => ({ delete: `${at}${key}` })),
    });
    if (outcome.kind === "applied")
      log.warn({ member: id }, "a member was silent for a whole lease: it is fenced");
    return outcome.kind === "applied";
  }

  async #claim(self: Identity, claims: readonly Claim[]): Promise<boolean> {
    const { etcd } = this.#options;
    let hasChanged = false;
    for (let from = 0; from < claims.length && this.#self === self; from += CLAIMS_A_TXN) {
      const some = claims.slice(from, from + CLAIMS_A_TXN);
      const formers = [...new Set(some.flatMap(({ before }) => before?.record.member ?? []))];
      const left = await this.#leftBy(self, formers);
      const compare: Compare[] = [
        this.#isThere(self),
        ...formers.map((former) => this.#absent(fenceKey(former))),
      ];
      const then: Op[] = [];
      for (const { partition, before } of some) {
        const key = ownerKey(partition);
        compare.push(before === null ? this.#absent(key) : this.#is(key, before.bytes));
        then.push(this.#put(written(key, claimOf(self.id, before?.record ?? null, left))));
      }
      const outcome = await etcd.txn({ compare, then });
      hasChanged ||= outcome.kind === "applied";
    }
    return hasChanged;
  }

  /** What members that are gone have left: it is final. */
  async #leftBy(self: Identity, ids: readonly string[]): Promise<ReadonlyMap<string, Left>> {
    const keys = ids.flatMap((id) => [`${CLOCKS}${id}`, `${HEADS}${id}`]);
    const found = await readThrough(this.#fenced(self), keys);
    const left = new Map<string, Left>();
    for (const [index, id] of ids.entries()) {
      const [clock, head] = [found[2 * index]?.[0], found[2 * index + 1]?.[0]];
      const clockMs = clock === undefined ? 0 : decoded<{ nowMs: number }>(CLOCK_KEY, clock.value).nowMs;
      const staged =
        head === undefined
          ? 0
          : decoded<{ staged: number }>(`${this.#options.at}${HEADS}${id}`, head.value).staged;
      left.set(id, { clockMs, hasRedo: staged > 0 });
    }
    return left;
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
      await this.#redo(self, partition, owner);
      hasChanged = true;
    }
    const whole = ours.filter(({ owner }) => owner.record.redo === undefined);
    const prefixes = whole.map(({ partition }) => partitionPrefix(partition));
    // What was read of one is served before the next are read: a lease goes on there.
    for (let from = 0; from < whole.length; from += TAKEN_UP_AT_ONCE) {
      const parts = await readParts(this.#fenced(self), prefixes.slice(from, from + TAKEN_UP_AT_ONCE));
      if (this.#self !== self) return false;
      const served = parts.map((part, index) => this.#serve(self, loop, whole[from + index]!, part));
      await Promise.all(served);
      hasChanged = true;
    }
    if (whole.length > 0) this.#options.log.info({ partitions: self.served.size }, "serves more partitions");
    return hasChanged;
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
    if (this.#self !== self) return;
    self.served.set(partition, offsetMs);
    self.wrote.set(partition, { epoch: record.epoch, url: this.#options.url });
    this.#changed();
  }

  /** Brings a batch to its end that counts, and that its member had not yet put in its place. */
  async #redo(self: Identity, partition: number, { record, bytes }: Seen<OwnerRecord>): Promise<void> {
    const is = this.#is(ownerKey(partition), bytes);
    const { redo, ...rest } = record;
    for (const former of redo!) await redoPart(this.#fenced(self), former, partitionPrefix(partition), is);
    await this.#options.etcd.txn({
      compare: [this.#isThere(self), is],
      then: [this.#put(written(ownerKey(partition), { ...rest, epoch: record.epoch + 1 }))],
    });
  }

  async #handOver(self: Identity, loop: Loop, { handOver }: Plan): Promise<boolean> {
    const { members, owners } = self.membership.look!;
    for (const [to, partitions] of handOver) {
      const { url } = members.get(to)!.record;
      for (let from = 0; from < partitions.length && this.#self === self; from += HAND_OVERS_A_BATCH) {
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
        this.#changed();
        const isIn = ({ account, id }: ServiceKey) => some.has(partitionOf(account, id));
        await loop.handOver(isIn, last, () => {
          for (const partition of some) {
            self.served.delete(partition);
            self.handingOver.delete(partition);
          }
        });
        this.#options.log.info({ partitions: some.size, to: url }, "handed partitions over");
        this.#changed();
      }
    }
    return handOver.size > 0;
  }

  // --- leaving ---

  /** Gives everything to the other members. Resolves when there is nothing left, or nobody to give it to. */
  async leave(): Promise<void> {
    const self = this.#self;
    const { runtime } = this.#options;
    if (self === null) return;
    self.isLeaving = true;
    const untilMs = runtime.monotonicMs() + LEAVE_MS_MAX;
    while (this.#self === self && self.served.size > 0 && runtime.monotonicMs() < untilMs) {
      this.#hint();
      await this.#looked();
      await this.#working;
      const others = [...(self.membership.look?.members ?? [])].filter(([id, { record }]) => {
        return (
          id !== self.id &&
          record.isReady &&
          !record.isLeaving &&
          self.membership.silentMs(id) < this.#leaseMs / 2
        );
      });
      if (others.length === 0) return;
    }
  }

  /** After the loop has stopped: nobody has to wait for a lease. */
  async close(): Promise<void> {
    const self = this.#self;
    const { etcd, at } = this.#options;
    this.#isClosed = true;
    this.#lose();
    if (self !== null) {
      const gone = [fenceKey(self.id), memberKey(self.id), readKey(self.id)];
      await etcd.txn({ compare: [], then: gone.map((key) => ({ delete: `${at}${key}` })) });
    }
    etcd.close();
  }

  /** The next look, or the time of one. */
  #looked(): Promise<void> {
    return new Promise((resolve) => {
      this.#onLook.push(resolve);
      this.#options.runtime.setTimer(resolve, BEAT_MS);
    });
  }

  // --- words for etcd ---

  #fenced(self: Identity): Fenced {
    const { etcd, at } = this.#options;
    return { etcd, at, id: self.id, fence: written(fenceKey(self.id), { member: self.id }) };
  }

  #isThere({ id }: Identity): Compare {
    return this.#is(fenceKey(id), written(fenceKey(id), { member: id }).value);
  }

  #is(key: string, value: Uint8Array): Compare {
    return { key: `${this.#options.at}${key}`, value };
  }

  #absent(key: string): Compare {
    return { key: `${this.#options.at}${key}`, revision: 0 };
  }

  #put({ key, value }: ReturnType<typeof written>): Op {
    return { put: `${this.#options.at}${key}`, value };
  }

  /** What a look reads. */
  #reads(): Op[] {
    const { at } = this.#options;
    const areas = [MEMBERS, OWNERS].map((area) => ({ get: `${at}${area}`, end: endOf(`${at}${area}`) }));
    return [...areas, { get: `${at}${COMMON_VERSION}` }];
  }

  #nameIn(key: Buffer, area: string): string {
    return key.toString().slice(this.#options.at.length + area.length);
  }
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

/** Whether anybody is to be told. */
function hasChanged(before: Look, after: Look): boolean {
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
