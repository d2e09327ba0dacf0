import type { FloorRecord, Loop, Place, Placement, ServiceKey } from "../loop/index.js";
import { openEtcdStore } from "../store/etcd.js";
import { type EtcdEntry, endOf } from "../store/etcd-api.js";
import { type Entry, type Store, StoreUnusableError } from "../store/index.js";
import { Identity } from "./identity.js";
import { COMMON_VERSION, FENCES, KEEPERS_PARTITION, OWNERS } from "./keys.js";
import { layoutOf } from "./layout.js";
import { hasChanged, lookIn, sharesIn } from "./look.js";
import { JOINED, MARKS, marksIn, refusalOf, unmarked } from "./marks.js";
import type { MemberOptions } from "./member-options.js";
import { HINT_MS_MIN } from "./membership.js";
import { fencedBy, readKey } from "./part.js";
import { partitionOf } from "./partitions.js";
import { putIfAbsent } from "./put-if-absent.js";
import { beatIn, fenceKey, type MemberRecord, memberKey, shareKey, written } from "./records.js";
import { type ClusterSeen, seenIn } from "./seen.js";
import { sharing } from "./sharing.js";
import { recordsSeenBy } from "./snapshot.js";
import { isCommonRead, Steps } from "./steps.js";
import { ClusterTotals, counted } from "./totals.js";
import type { Words } from "./words.js";

/** How often a member writes its record, and looks at those of the others. */
const BEAT_MS = 500;
/** After a beat that came to nothing. */
const BEAT_AGAIN_MS = 100;
/** What of its lease a member does not use: clocks may differ in their rates, by 2 % each (L2). */
const MARGIN = 0.1;
/** Beats are not watched: each member would beat for each beat of all others. */
const WATCHED = [OWNERS, FENCES, COMMON_VERSION];
/** Ids of joins of which nobody knows whether they came through. */
const FORMER_MAX = 30;
/** How long a member that leaves waits for others to be given what it serves. */
const LEAVE_MS_MAX = 3_000;

/**
 * This server as a member of a cluster (decision 023): it beats, fences members that are silent, claims the partitions that are its share, and gives
 * those away that are not any more. What the loop asks of the cluster, it answers as its `Placement`.
 */
export class Member implements Placement {
  readonly #options: MemberOptions;
  readonly #leaseMs: number;
  readonly #listeners = new Set<() => void>();
  /** Made anew at each start. */
  readonly secret: string;
  readonly totals = new ClusterTotals();
  readonly #steps: Steps;
  readonly #words: Words;
  #loop: Loop | null = null;
  #self: Identity | null = null;
  /** Ids that may have records of ours: whoever joins anew removes them. */
  #former: string[] = [];
  /** It joins no more. */
  #isOver = false;
  #cancelTimer: () => void = () => {};
  #cancelTrustTimer: () => void = () => {};
  #unwatch: () => void = () => {};
  #isBeatWanted = false;
  readonly #complained = new Set<string>();
  #working: Promise<void> | null = null;
  #isWorkWanted = false;
  #lastBeatMs = Number.NEGATIVE_INFINITY;
  /** Told after each look. */
  #onLook: (() => void)[] = [];
  #urls: readonly string[];
  #problem: string | null = "it has not joined yet";
  #beatenMs: number | null = null;

  constructor(options: MemberOptions) {
    this.#options = { ...options, etcd: counted(options.etcd, this.totals) };
    this.#leaseMs = options.leaseMs ?? 5_000;
    this.#urls = [options.url];
    this.secret = `${options.runtime.randomId()}${options.runtime.randomId()}`;
    this.#steps = new Steps({
      ...this.#options,
      totals: this.totals,
      isNow: (self) => this.#self === self,
      looked: () => this.#looked(),
      pause: () => new Promise((resolve) => options.runtime.defer(resolve)),
      changed: () => this.#changed(),
      lookSoon: () => this.#hint(),
    });
    this.#words = this.#steps.words;
  }

  placeOf({ account, id }: ServiceKey): Place {
    return this.placeOfPartition(partitionOf(account, id));
  }

  placeOfPartition(partition: number): Place {
    return this.#self?.placeOf(partition) ?? "nowhere";
  }

  /** Who writes accounts and keys. */
  get keeper(): Place {
    return this.placeOfPartition(KEEPERS_PARTITION);
  }

  get floor(): FloorRecord | null {
    return this.#self?.floor ?? null;
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

  get url(): string {
    return this.#options.url;
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

  epochOf({ account, id }: ServiceKey): number | null {
    return this.#self?.epochs.get(partitionOf(account, id)) ?? null;
  }

  /** All other members that live, as they say of themselves. */
  others(): readonly ({ readonly id: string } & MemberRecord)[] {
    const members = this.#self?.membership.look?.members ?? [];
    return [...members].flatMap(([id, { record }]) => (id === this.#self?.id ? [] : [{ id, ...record }]));
  }

  /** Members and partitions, as this one saw them last. */
  seen(): ClusterSeen {
    const self = this.#self;
    const look = self?.membership.look ?? null;
    if (self === null || look === null) return { members: [], partitions: [] };
    return seenIn(self, look);
  }

  /** Why this member is out of its cluster, for people; null: it is in. */
  get problem(): string | null {
    return (
      this.#problem ?? (this.isTrusted() ? null : "etcd has not answered for most of this member's lease")
    );
  }

  /** How long ago the last beat was sent that came through; null: none ever was. */
  get beatAgeMs(): number | null {
    return this.#beatenMs === null ? null : this.#options.runtime.monotonicMs() - this.#beatenMs;
  }

  /** Resolves when all is read that is common and was written before this call, or when this member is out of its cluster. */
  async caughtUp(): Promise<void> {
    const self = this.#self;
    const beat = self?.beat ?? 0;
    const isKnown = () => self!.appliedBeat > beat && isCommonRead(self!);
    while (self !== null && this.#self === self && !isKnown()) {
      if (self.appliedBeat <= beat) this.#hint();
      await (self.following ?? this.#looked());
    }
  }

  /**
   * Joins as a member that never was before, and gives the store that this one writes to. Tries for as long as it takes: the loop opens its store
   * with this, at first and after each failure. What all members share is known then, as of the join or later.
   * @throws StoreUnusableError when the cluster was moved, or is not whole yet; DamagedRecordError (R9)
   */
  async openStore(): Promise<Store> {
    if (this.#self !== null) this.totals.lost[this.isTrusted() ? "failed" : "silent"]++;
    this.#lose();
    const { runtime, log, etcd, at } = this.#options;
    for (;;) {
      if (this.#isOver) throw new Error("This member has left its cluster.");
      const problem = await this.#join();
      if (problem === null) break;
      if (problem instanceof StoreUnusableError) throw problem;
      this.#problem = `it cannot be joined: ${problem.message}`;
      log.warn({ err: problem }, "the cluster cannot be joined yet");
      await new Promise<void>((resolve) => runtime.setTimer(resolve, BEAT_MS));
    }
    const self = this.#self!;
    await this.#steps.begun(self);
    const { fence } = fencedBy(etcd, this.#words, self.id);
    const guards = [{ key: `${at}${fence.key}`, value: fence.value }];
    const store = await openEtcdStore({
      ...{ etcd, at, guards, layout: layoutOf(self.id), clock: runtime },
      ...{ patienceMs: this.#leaseMs, opening: runtime.randomId() },
    });
    log.info({ member: self.id, url: this.#options.url }, "joined the cluster");
    return store;
  }

  async #join(): Promise<Error | null> {
    const { etcd, runtime, at } = this.#options;
    const id = runtime.randomId();
    const former = this.#former.slice(-FORMER_MAX);
    // It may come to be, also if nobody says so.
    this.#former.push(id);
    const self = new Identity(id);
    const record = this.#recordOf(self);
    const [sentMs, sentWallMs] = [runtime.monotonicMs(), runtime.wallMs()];
    const gone = former.flatMap((each) => [fenceKey(each), memberKey(each), shareKey(each)]);
    const outcome = await etcd.txn({
      compare: [this.#words.absent(fenceKey(id)), this.#words.absent(memberKey(id)), ...unmarked(at)],
      ops: [
        this.#words.put(written(fenceKey(id), { member: id })),
        this.#words.put(record),
        { put: `${at}${JOINED}`, value: Buffer.from(id) },
        ...gone.map((key) => this.#words.delete(key)),
        ...this.#words.look(),
      ],
      otherwise: [{ get: `${at}${MARKS}`, end: endOf(`${at}${MARKS}`) }],
    });
    if (outcome.kind === "refused")
      return (
        refusalOf(at, marksIn(at, outcome.gets[0]!)) ?? new Error("Another member has the same random id.")
      );
    if (outcome.kind !== "applied") return outcome.error;
    self.bytes = record.value;
    this.#former = [id];
    this.#self = self;
    this.#problem = null;
    this.#trust(self, sentMs, sentWallMs);
    this.#saw(self, outcome.gets, sentMs);
    const watches = WATCHED.map((area) =>
      etcd.watch(`${at}${area}`, (entries) => {
        this.#hint(self.membership.hintMs);
        if (area === OWNERS && self.heard(entries, this.#words)) this.#work(false);
      }),
    );
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

  #recordOf(self: Identity) {
    const { url, version } = this.#options;
    const { beat, isLeaving, id } = self;
    const isReady = this.#loop?.ready === true;
    const said = { url, version, secret: this.secret, leaseMs: this.#leaseMs };
    const record: MemberRecord = { ...said, beat, isReady, isLeaving };
    return written(memberKey(id), record);
  }

  // --- beats ---

  /** Something may have changed: a look, soon. @param apartMs from the last one, at least */
  #hint(apartMs = HINT_MS_MIN): void {
    const { runtime } = this.#options;
    const sinceMs = runtime.monotonicMs() - this.#lastBeatMs;
    this.#arm(Math.max(0, apartMs - sinceMs));
  }

  #armedForMs = Number.POSITIVE_INFINITY;

  #arm(inMs: number): void {
    const { runtime } = this.#options;
    const atMs = runtime.monotonicMs() + inMs;
    if (this.#self?.isBeating) {
      this.#isBeatWanted ||= inMs < BEAT_MS;
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
    if (self === null || self.isBeating) return;
    self.isBeating = true;
    this.#isBeatWanted = false;
    const { etcd, runtime } = this.#options;
    this.#lastBeatMs = runtime.monotonicMs();
    const beat = ++self.beat;
    const record = this.#recordOf(self);
    const share = sharing(this.#words, self, this.#options.share?.() ?? null);
    const [sentMs, sentWallMs] = [runtime.monotonicMs(), runtime.wallMs()];
    // The record is compared, too: a beat that was under way for long cannot come behind a later one and bring an old number back.
    const outcome = await etcd.txn({
      compare: [this.#words.isThere(self.id), this.#words.is(memberKey(self.id), self.bytes)],
      ops: [this.#words.put(record), ...share.ops, ...this.#words.look()],
      otherwise: [this.#words.get(memberKey(self.id)), this.#words.get(fenceKey(self.id))],
    });
    self.isBeating = false;
    this.totals.beatMs.observe(runtime.monotonicMs() - sentMs);
    self.share = outcome.kind === "applied" ? share.bytes : undefined;
    if (this.#self !== self) return;
    if (outcome.kind === "applied") {
      self.bytes = record.value;
      self.appliedBeat = beat;
      this.#trust(self, sentMs, sentWallMs);
      this.#saw(self, outcome.gets, sentMs);
      // The next look is not later than the moment when somebody's silence is long enough.
      const silentInMs = self.membership.silentInMs(self.id, runtime.monotonicMs()) + 1;
      const hintMs = this.#isBeatWanted ? self.membership.hintMs : BEAT_MS;
      this.#arm(Math.min(BEAT_MS, hintMs, Math.max(HINT_MS_MIN, silentInMs)));
      return this.#work();
    }
    if (outcome.kind === "refused") {
      const [[own], [fence]] = outcome.gets as [EtcdEntry[], EtcdEntry[]];
      if (own === undefined || fence === undefined) {
        this.totals.lost.fenced++;
        return this.#distrust(self, "another member has fenced this one");
      }
      // An earlier beat came through after all; unless etcd has gone back to what was before, and all that this member has written since is gone.
      if (beatIn(self.id, own.value) < self.appliedBeat)
        return this.#distrust(self, "etcd has lost what it had: an older state was put in its place");
      self.bytes = own.value;
    }
    this.#arm(BEAT_AGAIN_MS);
  }

  /** From when it was sent, not from when the answer came: others count from when it was written. */
  #trust(self: Identity, sentMs: number, sentWallMs: number): void {
    const forMs = this.#leaseMs * (1 - MARGIN);
    self.trustedUntilMs = Math.max(self.trustedUntilMs, sentMs + forMs);
    self.trustedUntilWallMs = sentWallMs + forMs;
    this.#beatenMs = sentMs;
    this.#cancelTrustTimer();
    const restMs = Math.max(1, self.trustedUntilMs - this.#options.runtime.monotonicMs());
    this.#cancelTrustTimer = this.#options.runtime.setTimer(() => {
      if (this.#self !== self || this.isTrusted()) return;
      this.totals.lost.silent++;
      this.#distrust(self, "etcd has not answered for most of this member's lease");
    }, restMs);
  }

  #distrust(self: Identity, why: string): void {
    if (this.#self !== self) return;
    this.#options.log.error({ member: self.id }, `no longer a member of the cluster: ${why}`);
    this.#problem = why;
    this.#lose();
    this.#loop?.distrust(new Error(`This member is out of its cluster: ${why}.`));
  }

  #saw(self: Identity, gets: readonly (readonly EtcdEntry[])[], sentMs: number): void {
    const times = { sentMs, receivedMs: this.#options.runtime.monotonicMs() };
    const unreadable = (key: string, error: unknown) => this.#unreadable(key, error);
    const look = lookIn(gets, this.#words, times, unreadable);
    const before = self.membership.look;
    self.membership.saw(look);
    self.newCommonVersion = gets[2]?.[0]?.value ?? null;
    void this.#steps.follow(self).then((isNew) => {
      if (isNew && this.#self === self) this.#work();
    });
    const others = sharesIn(gets, this.#words, look, unreadable);
    others.delete(self.id);
    this.#options.onShares?.(others, Math.max(1, look.members.size));
    if (before === null || hasChanged(before, look)) this.#changed();
    for (const told of this.#onLook.splice(0)) told();
  }

  /** Once each. */
  #unreadable(key: string, err: unknown): void {
    if (this.#complained.has(key)) return;
    this.#complained.add(key);
    this.#options.log.error(
      { err, key },
      "a record of the cluster in etcd cannot be read, and is left alone",
    );
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

  /** One step after the other. @param isLooked there is a new look to go by; false: a hint */
  #work(isLooked = true): void {
    this.#isWorkWanted ||= isLooked;
    this.#working ??= this.#workOn().finally(() => {
      this.#working = null;
    });
  }

  async #workOn(): Promise<void> {
    do {
      const isLooked = this.#isWorkWanted;
      this.#isWorkWanted = false;
      const [self, loop] = [this.#self, this.#loop];
      const hinted = [...(self?.hinted ?? [])];
      self?.hinted.clear();
      if (self === null || loop?.ready !== true) continue;
      await this.#step(self, this.#steps.takeHinted(self, loop, hinted));
      if (isLooked && (await this.#step(self, this.#steps.take(self, loop)))) this.#hint();
    } while (this.#isWorkWanted || (this.#self?.hinted.size ?? 0) > 0);
  }

  #step<T>(self: Identity, step: Promise<T>): Promise<T | null> {
    return step.catch((err) => {
      if (this.#self === self)
        this.#options.log.warn({ err }, "a step in the cluster came to nothing, and is tried again");
      return null;
    });
  }

  /** Writes a record that all members share, unless there is one. @returns the one that is there then */
  async putIfAbsent(key: string, value: object): Promise<object> {
    const { etcd, runtime } = this.#options;
    const { id, newCommonVersion: seen } = this.#present;
    return putIfAbsent({ etcd, words: this.#words, id, mark: runtime.randomId(), seen }, key, value);
  }

  get #present(): Identity {
    if (this.#self === null) throw new Error("This server is no member of its cluster now.");
    return this.#self;
  }

  /**
   * Everything that any member has made durable before, in the order of its keys and on one lease clock, as of one moment.
   * @throws Error when this member was fenced, or etcd does not answer; DamagedRecordError (R9)
   */
  async *records(): AsyncGenerator<Entry> {
    const { etcd, runtime } = this.#options;
    yield* recordsSeenBy(fencedBy(etcd, this.#words, this.#present.id), runtime.randomId());
  }

  // --- leaving ---

  /** Gives everything to the other members. Resolves when there is nothing left, or nobody to give it to. */
  async leave(): Promise<void> {
    const self = this.#self;
    const { runtime } = this.#options;
    this.#isOver = true;
    if (self === null) return;
    self.isLeaving = true;
    runtime.setTimer(() => {
      self.isOutOfTime = true;
    }, LEAVE_MS_MAX);
    while (this.#self === self && self.served.size + self.takingUp.size > 0 && !self.isOutOfTime) {
      this.#hint();
      await this.#looked();
      await this.#working;
      if (!self.membership.hasHeir(self.id, this.#leaseMs / 2)) return;
    }
  }

  /** After the loop has stopped: nobody has to wait for a lease. */
  async close(): Promise<void> {
    const self = this.#self;
    const { etcd } = this.#options;
    this.#isOver = true;
    this.#lose();
    if (self !== null) {
      const gone = [fenceKey(self.id), memberKey(self.id), shareKey(self.id), readKey(self.id)];
      await etcd.txn({ compare: [], ops: gone.map((key) => this.#words.delete(key)) });
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
}
