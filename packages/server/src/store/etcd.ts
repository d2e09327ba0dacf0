import { randomBytes } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { type Block, blocksOf, entriesIn } from "./block.js";
import { StoreClosedError, StoreDeposedError, StoreFailedError, StoreUnusableError } from "./errors.js";
import {
  CODE,
  type Compare,
  type Etcd,
  type EtcdEntry,
  EtcdError,
  endOf,
  type Op,
  type Revision,
  type Txn,
} from "./etcd-api.js";
import { type EtcdLayout, PLAIN } from "./etcd-layout.js";
import { type Marked, Marking } from "./etcd-mark.js";
import { slicesOf } from "./etcd-slices.js";
import { changesIn, piecesOf } from "./etcd-staged.js";
import { type EncodedChange, encodeBatch, encodePrefix } from "./keys.js";
import { decodeRecord, encodeRecord } from "./records.js";
import type { Change, Entries, Store } from "./store.js";

/**
 * A record in etcd that says who may write: it has this value. Whoever changes or deletes it takes the right away. No revision is compared: they can go
 * back, and come a second time.
 */
export interface Guard {
  /** All of its key. */
  readonly key: string;
  readonly value: Uint8Array;
}

/** Waits, and knows how long. */
export interface EtcdStoreClock {
  monotonicMs(): number;
  setTimer(callback: () => void, ms: number): () => void;
}

const SYSTEM_CLOCK: EtcdStoreClock = {
  monotonicMs: () => performance.now(),
  setTimer: (callback, ms) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

export interface EtcdStoreOptions {
  readonly etcd: Etcd;
  /** What all of its keys begin with, such as `/lockdb/`. Other stores may be beside it, and not below it. */
  readonly at: string;
  /** All must hold, or nothing is written and nothing opened. */
  readonly guards: readonly Guard[];
  /** How long a commit is tried for while etcd does not answer, in milliseconds. Default: 5,000. */
  readonly patienceMs?: number;
  /** Default: one head, and all records together. */
  readonly layout?: EtcdLayout;
  /** Default: the machine's. */
  readonly clock?: EtcdStoreClock;
  /** Makes heads that no two openings share. Default: random. */
  readonly opening?: string;
}

/**
 * Opens the store below a prefix of etcd's keys (decision 022). What it loads is what there is behind a transaction of its own, under its guards:
 * nobody who had them before writes any more.
 *
 * Besides what a `Store` promises: a commit rejects with StoreDeposedError when a guard does not hold any more, and with StoreFailedError when
 * etcd has not said in time what came of it. A value has at most 1 MiB.
 * @throws StoreDeposedError, StoreFailedError, StoreUnusableError
 */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store> {
  const store = new EtcdStore(options);
  await store.open();
  return store;
}

/** What the last transaction has left, in `<at>head`: each writes it anew, and compares what it was. */
interface Head {
  /** No two are alike. */
  readonly batch: string;
  /** How many pieces of that batch are under `<at>staged/` and not among the records yet. */
  readonly staged: number;
}

interface PlacedChange extends EncodedChange {
  /** Where its record is, as the layout has it. */
  readonly place: string;
}

class EtcdStore implements Store {
  readonly #etcd: Etcd;
  readonly #at: string;
  readonly #guards: readonly Guard[];
  readonly #patienceMs: number;
  readonly #layout: EtcdLayout;
  readonly #clock: EtcdStoreClock;
  readonly #opening: string;
  readonly #marking: Marking | null;
  #sequence = 0;
  /** As it is in etcd; null: absent. */
  #head: Uint8Array | null = null;
  /** Of the last transaction. */
  #seen: Revision = 0;
  /** When the last batch was whole: what is loaded is as of then. */
  #revision: Revision = 0;
  #last: Promise<void> = Promise.resolve();
  #failure: StoreFailedError | StoreDeposedError | null = null;
  #closing: Promise<void> | null = null;

  constructor({ etcd, at, guards, patienceMs = PATIENCE_MS, ...options }: EtcdStoreOptions) {
    const { layout = PLAIN, clock = SYSTEM_CLOCK, opening = randomBytes(9).toString("base64url") } = options;
    this.#layout = layout;
    this.#clock = clock;
    this.#opening = opening;
    this.#marking = layout.mark === null ? null : new Marking(at, layout.mark, opening);
    this.#etcd = etcd;
    this.#at = at;
    this.#guards = guards;
    this.#patienceMs = patienceMs;
  }

  /** Puts a head of its own, without a read before: what etcd shows without a transaction may be old. */
  async open(): Promise<void> {
    const { staged } = await this.#take();
    // Another's batch that counts already: it is brought to its end before anything else.
    if (staged > 0) await this.#copy(await this.#stagedChanges(staged), staged);
    this.#revision = this.#seen;
  }

  load(prefix: string, after = ""): Entries {
    return entriesIn(
      () => this.#blocks(prefix, after),
      () => this.#assertUsable(),
    );
  }

  async *#blocks(prefix: string, after: string): AsyncGenerator<Block> {
    encodePrefix(prefix);
    encodePrefix(after);
    this.#assertUsable();
    await this.#last;
    this.#assertUsable();
    const atRevision = this.#revision;
    for (const range of this.#layout.rangesOf(prefix)) {
      const outside = this.#at.length + range.outside;
      const below = Buffer.from(`${this.#at}${range.prefix}`);
      const behind = Buffer.from(after === "" ? "" : `${this.#at}${this.#layout.keyOf(after)}`);
      yield* this.#blocksIn(below, behind, outside, range.isShared ? 0 : atRevision);
    }
  }

  async *#blocksIn(
    below: Buffer,
    behind: Buffer,
    outside: number,
    revision: Revision,
  ): AsyncGenerator<Block> {
    let atRevision = revision;
    const end = endOf(below);
    let key = behind.compare(below) > 0 ? Buffer.concat([behind, LEAST_BYTE]) : below;
    for (let more = Buffer.compare(key, end) < 0, limit = PAGE; more; ) {
      try {
        const page = await this.#etcd.range({ key, end, limit, atRevision });
        more = page.more;
        // The other pages are of the same moment.
        if (atRevision === 0) atRevision = page.revision;
        for (const block of blocksOf(page.entries.map((entry) => within(entry, outside)))) {
          this.#assertUsable();
          yield block;
          this.#assertUsable();
        }
        const last = page.entries.at(-1);
        if (last !== undefined) key = Buffer.concat([last.key, LEAST_BYTE]);
      } catch (error) {
        // Its values are large: fewer of them, then.
        if (!(error instanceof EtcdError && error.code === CODE.RESOURCE_EXHAUSTED && limit > 1))
          throw readError(error);
        limit = Math.ceil(limit / 8);
      }
    }
  }

  async commit(batch: readonly Change[]): Promise<void> {
    this.#assertUsable();
    const changes = this.#placed(lastOfEachKey(batch, encodeBatch(batch)));
    const done = this.#last.then(() => this.#commit(changes));
    this.#last = done.catch(() => {});
    return done;
  }

  close(): Promise<void> {
    // Those whose commits were in flight are told before.
    this.#closing ??= this.#last.then(() => setImmediate());
    return this.#closing;
  }

  async #commit(changes: readonly PlacedChange[]): Promise<void> {
    this.#assertNotFailed();
    if (changes.length === 0) return;
    try {
      const bytes = changes.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0);
      if (changes.length <= CHANGES_A_TXN && bytes <= BYTES_A_TXN)
        await this.#write(this.#newHead(0), this.#opsOf(changes), this.#marked(changes));
      else await this.#commitInPieces(changes);
      this.#revision = this.#seen;
    } catch (error) {
      this.#failure = failureOf(error);
      throw this.#failure;
    }
  }

  /**
   * First the pieces, which mean nothing; then, in one transaction with the last of them, the head that says that they count: now the batch is
   * durable, all of it. Then they are copied to the records. Whoever opens the store meanwhile goes on with that.
   */
  async #commitInPieces(changes: readonly PlacedChange[]): Promise<void> {
    const pieces = piecesOf(changes, BYTES_A_TXN);
    const ops = pieces.map((piece, at): Op => ({ put: this.#stagedKey(at), value: piece }));
    for (const op of ops.slice(0, -1)) await this.#repeatable([op]);
    await this.#write(this.#newHead(pieces.length), [ops.at(-1)!]);
    await this.#copy(changes, pieces.length);
  }

  /**
   * In any order and perhaps twice, as long as the head is the one of that batch. The last ones go with the head that ends it. Before that come those that are
   * marked, one transaction after the other, and each counts once (decision 028).
   */
  async #copy(changes: readonly PlacedChange[], staged: number): Promise<void> {
    const marked = changes.filter((change) => this.#isMarked(change));
    const slices = slicesFromTheEnd(changes.filter((change) => !this.#isMarked(change)));
    const last = slices.pop() ?? [];
    const rest = slices.values();
    const copying = Array.from({ length: COPIES }, async () => {
      for (const slice of rest) await this.#repeatable(this.#opsOf(slice));
    });
    // All of them: nothing of ours may be under way when the head changes, or when this is over.
    const failed = (await Promise.allSettled(copying)).find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    for (const slice of slicesOf(marked, sizeOf, A_TXN))
      await this.#write(this.#newHead(staged), this.#opsOf(slice), this.#marked(slice));
    await this.#write(this.#newHead(0), [...this.#opsOf(last), this.#deleteStaged()]);
  }

  async #stagedChanges(staged: number): Promise<PlacedChange[]> {
    const changes: EncodedChange[] = [];
    for (let at = 0; at < staged; at++) {
      const key = this.#stagedKey(at);
      const { entries } = await this.#etcd.range({ key, atRevision: this.#seen });
      const found = entries[0] === undefined ? null : changesIn(entries[0].value);
      if (found === null)
        throw new StoreUnusableError(
          `The record ${JSON.stringify(key)} in etcd, a part of a batch that was under way, is damaged or gone. The server refuses to start rather than ` +
            "guess what it held. Restore a backup.",
        );
      changes.push(...found);
    }
    return this.#placed(changes);
  }

  // --- transactions ---

  /** Whatever the head is, it becomes one of ours, which says the same of what is staged. */
  async #take(): Promise<Head> {
    const untilMs = this.#until();
    for (;;) {
      const staged = this.#head === null ? 0 : this.#headIn(this.#head).staged;
      const head = this.#newHead(staged);
      // What a batch has left that came to nothing.
      if (await this.#attempt(head, staged > 0 ? [] : [this.#deleteStaged()], untilMs)) break;
      // Ours, when it was applied after all; else somebody else's.
      if (this.#isHead(head)) break;
    }
    return this.#headIn(this.#head!);
  }

  /** A transaction that counts once, however often it is sent: the first that is applied changes the head, and the others compare false. */
  async #write(head: Uint8Array, ops: readonly Op[], marked: readonly string[] = []): Promise<void> {
    if (await this.#attempt(head, ops, this.#until(), marked)) return;
    if (this.#isHead(head)) return;
    throw new StoreDeposedError("somebody else writes to it", []);
  }

  /** One that may be applied more than once, as long as the head stays what it is. */
  async #repeatable(ops: readonly Op[]): Promise<void> {
    if (await this.#attempt(null, ops, this.#until())) return;
    throw new StoreDeposedError("somebody else writes to it", []);
  }

  /**
   * Sends it until etcd says what came of it. True: applied. False: the head is not what it was; it is known anew.
   * @param places of what it changes, as far as that is marked
   * @throws StoreDeposedError, StoreFailedError
   */
  async #attempt(
    head: Uint8Array | null,
    ops: readonly Op[],
    untilMs: number,
    places: readonly string[] = [],
  ): Promise<boolean> {
    let marked = this.#nextMarked(places);
    for (;;) {
      const outcome = await this.#etcd.txn(this.#txn(head, ops, marked));
      if (outcome.kind === "applied") {
        this.#seen = outcome.revision;
        if (head !== null) this.#head = head;
        if (marked !== null) this.#marking!.wrote(marked);
        return true;
      }
      if (outcome.kind === "refused") {
        const [[found], ...rest] = outcome.gets as [EtcdEntry[], ...EtcdEntry[][]];
        const guards = rest.slice(0, this.#guards.length);
        const lost = this.#guards.filter((guard, at) => !holds(guard, guards[at]![0]));
        if (lost.length > 0) throw new StoreDeposedError("the right to write to it was taken away", lost);
        const known = this.#head;
        this.#head = found?.value ?? null;
        this.#seen = outcome.revision;
        if (marked === null) return false;
        // It was applied after all, and its mark with it.
        if (head !== null && this.#isHead(head)) this.#marking!.wrote(marked);
        if (!isSame(known, this.#head)) return false;
        // The mark is another's. What was sent with the old one, and is still on its way, comes to nothing: no mark comes back.
        this.#marking!.found(rest.at(-1)![0]?.value ?? null);
        marked = this.#nextMarked(places);
        continue;
      }
      if (!outcome.error.isTransient || this.#clock.monotonicMs() >= untilMs) throw outcome.error;
      await new Promise<void>((resolve) => this.#clock.setTimer(resolve, AGAIN_MS));
    }
  }

  #txn(head: Uint8Array | null, ops: readonly Op[], marked: Marked | null): Txn {
    const headKey = this.#headKey;
    const keys = [headKey, ...this.#guards.map(({ key }) => key)];
    if (marked !== null) keys.push(this.#marking!.key);
    return {
      compare: [...this.#guards, this.#headCompare(), ...(marked === null ? [] : [marked.compare])],
      // Not without a put, also when it is refused: then it goes through etcd's log, and what it says is not old.
      ops: [...(head === null ? [] : [{ put: headKey, value: head }]), ...ops, ...(marked?.ops ?? [])],
      otherwise: keys.map((get) => ({ get })),
    };
  }

  #nextMarked(places: readonly string[]): Marked | null {
    return places.length === 0 ? null : this.#marking!.next(places);
  }

  get #headKey(): string {
    return `${this.#at}${this.#layout.head}`;
  }

  #headCompare(): Compare {
    const key = this.#headKey;
    return this.#head === null ? { key, revision: 0 } : { key, value: this.#head };
  }

  #newHead(staged: number): Uint8Array {
    const head: Head = { batch: `${this.#opening}/${++this.#sequence}`, staged };
    return encodeRecord(this.#headKey, head);
  }

  #headIn(value: Uint8Array): Head {
    return decodeRecord({ key: this.#headKey, value }) as Head;
  }

  #isHead(head: Uint8Array): boolean {
    return this.#head !== null && Buffer.compare(this.#head, head) === 0;
  }

  #deleteStaged(): Op {
    const staged = `${this.#at}${this.#layout.staged}`;
    return { delete: staged, end: endOf(staged) };
  }

  #stagedKey(at: number): string {
    return `${this.#at}${this.#layout.staged}${String(at).padStart(6, "0")}`;
  }

  #placed(changes: readonly EncodedChange[]): PlacedChange[] {
    return changes.map(({ key, value }) => ({ key, value, place: this.#layout.keyOf(key.toString()) }));
  }

  #opsOf(changes: readonly PlacedChange[]): Op[] {
    return changes.map(({ place, value }): Op => {
      const whole = `${this.#at}${place}`;
      return value === null ? { delete: whole } : { put: whole, value };
    });
  }

  /** The places of those that are marked. */
  #marked(changes: readonly PlacedChange[]): string[] {
    return changes.filter((change) => this.#isMarked(change)).map(({ place }) => place);
  }

  #isMarked({ place }: PlacedChange): boolean {
    return this.#layout.mark?.isMarked(place) === true;
  }

  #until(): number {
    return this.#clock.monotonicMs() + this.#patienceMs;
  }

  #assertUsable(): void {
    if (this.#closing !== null) throw new StoreClosedError();
    this.#assertNotFailed();
  }

  #assertNotFailed(): void {
    if (this.#failure !== null) throw this.#failure;
  }
}

const PATIENCE_MS = 5_000;
const AGAIN_MS = 50;
/** Of the 128 operations that a transaction may have, but for the head, and the deletion of what was staged or a mark with its note. */
const CHANGES_A_TXN = 125;
/** Of 1.5 MiB that a request may have. A value may be as large, or it could not be written at all. */
const BYTES_A_TXN = 1_024 * 1_024;
const VALUE_BYTES_MAX = BYTES_A_TXN;
const A_TXN = { itemsMax: CHANGES_A_TXN, bytesMax: BYTES_A_TXN };
/** Transactions at a time. */
const COPIES = 4;
/** Entries. */
const PAGE = 1_000;
/** Behind a key it makes the next one that there could be. */
const LEAST_BYTE = Buffer.of(0);

/** etcd refuses a transaction that changes a key twice. */
function lastOfEachKey(
  batch: readonly Change[],
  encoded: readonly EncodedChange[],
): readonly EncodedChange[] {
  const byKey = new Map<string, EncodedChange>();
  for (const [at, change] of encoded.entries()) {
    if (change.value !== null && change.value.length > VALUE_BYTES_MAX)
      throw new TypeError(
        `A value in etcd has at most ${VALUE_BYTES_MAX} bytes, this one ${change.value.length}.`,
      );
    byKey.set(batch[at]!.key, change);
  }
  return [...byKey.values()];
}

/**
 * So many that each fits into one transaction, and as many in the last as it takes: who puts few small changes at the end of a batch knows that they are there
 * together, and not before all others (decision 023: who serves a partition from now on).
 */
function slicesFromTheEnd(changes: readonly PlacedChange[]): PlacedChange[][] {
  return slicesOf([...changes].reverse(), sizeOf, A_TXN).reverse();
}

function sizeOf({ key, value }: EncodedChange): number {
  return key.length + (value?.length ?? 0);
}

function isSame(one: Uint8Array | null, other: Uint8Array | null): boolean {
  return one === null || other === null ? one === other : Buffer.compare(one, other) === 0;
}

function holds({ value }: Guard, found: EtcdEntry | undefined): boolean {
  return found !== undefined && Buffer.compare(found.value, value) === 0;
}

/** Without what all records' keys begin with. */
function within(
  { key, value }: EtcdEntry,
  prefixBytes: number,
): { readonly key: Buffer; readonly value: Buffer } {
  return { key: key.subarray(prefixBytes), value };
}

function failureOf(error: unknown): StoreFailedError | StoreDeposedError {
  if (error instanceof StoreFailedError || error instanceof StoreDeposedError) return error;
  return new StoreFailedError(
    `A commit failed (${error instanceof Error ? error.message : String(error)}). Whether it was applied is unknown until the store is opened anew. ` +
      "See that etcd has its quorum, and room.",
    { cause: error },
  );
}

function readError(error: unknown): unknown {
  if (!(error instanceof EtcdError)) return error;
  const next =
    error.code === CODE.OUT_OF_RANGE
      ? "It keeps old states for too short a time to read all of one: let it compact an hour behind, not minutes."
      : "See that etcd has its quorum.";
  return new StoreFailedError(`The store cannot be read (${error.message}). ${next}`, { cause: error });
}
