import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type Block, entriesIn } from "./block.js";
import { StoreClosedError, StoreFailedError, StoreUnusableError } from "./errors.js";
import { explained } from "./folder.js";
import { EPOCH_BYTES, framed, Journal, numbered, ROOM_BYTES } from "./journal.js";
import { encodePrefix } from "./keys.js";
import { openLmdbStore } from "./lmdb.js";
import { decodeRecord, encodeRecord } from "./records.js";
import type { Change, Entries, Entry, Store } from "./store.js";

/** Where the store says how far it has taken over the journal. It is no record of an account. */
export const MARK_KEY = "journal";

/** How long a batch may stand in the journal alone. Meanwhile records that come and go need not go further. */
const COPY_AFTER_MS = 100;

export interface Mark {
  /** In hexadecimal: new at each opening, so that frames of an earlier one, or of another store, do not count. */
  readonly epoch: string;
  /** The last frame whose changes are here. */
  readonly sequence: number;
  /** True until the store is closed in order: until then the journal may have more. */
  readonly isOpen: boolean;
}

/**
 * Opens the durable store in the directory, which is made if absent and belongs to this process until `close` (R8). A batch is written to a
 * journal, in one flush, and copied to LMDB after it, many at once (decision 015).
 */
export async function openDiskStore(directory: string): Promise<Store> {
  return withJournal(await openLmdbStore(directory), directory);
}

/** Puts a journal before a store, which is closed with it, or when it cannot be opened. */
export async function withJournal(
  inner: Store,
  directory: string,
  copyAfterMs: number = COPY_AFTER_MS,
): Promise<Store> {
  let journal: Journal | null = null;
  try {
    const mark = await readMark(inner);
    journal = Journal.open(join(directory, "journal"), mark?.isOpen === true);
    // The mark is flushed before the journal is used for the first time, and it is never deleted.
    if (mark === null && journal.wasUsed()) throw storeGone(directory);
    const frames = mark?.isOpen === true ? journal.frames(Buffer.from(mark.epoch, "hex"), mark.sequence) : [];
    const sequence = frames.at(-1)?.sequence ?? mark?.sequence ?? 0;
    const epoch = randomBytes(EPOCH_BYTES);
    const changes = new Map<string, Uint8Array | null>();
    for (const frame of frames) for (const { key, value } of frame.changes) changes.set(key, value);
    // First what it had, then its new beginning: at no moment is it needed and not what it should be.
    await inner.commit([...batchOf(changes), markAt(sequence, epoch, false)]);
    await journal.begin(epoch);
    await inner.commit([markAt(sequence, epoch, true)]);
    return new JournaledStore(inner, journal, epoch, sequence, copyAfterMs);
  } catch (error) {
    journal?.close();
    await inner.close();
    const isBySystem = (error as NodeJS.ErrnoException).syscall !== undefined;
    return isBySystem ? explained(directory, () => thrown(error)) : thrown(error);
  }
}

class JournaledStore implements Store {
  readonly #inner: Store;
  readonly #journal: Journal;
  readonly #epoch: Uint8Array;
  readonly #copyAfterMs: number;
  #sequence: number;
  /** Which half is written, from which byte on. */
  #half = 0;
  #end = 0;
  /** What is in that half, and not yet on its way to LMDB. */
  #changes = new Map<string, Uint8Array | null>();
  /** Those of them that LMDB has nothing of: they need not get there when they are deleted before. */
  #added = new Set<string>();
  /** The last frame that is in LMDB, or on its way there. */
  #copied: number;
  /** All that touches these, one after the other. */
  #last: Promise<void> = Promise.resolve();
  /** The other half, on its way to LMDB. */
  #copying: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #failure: { readonly cause: unknown } | null = null;
  #closing: Promise<void> | null = null;

  constructor(inner: Store, journal: Journal, epoch: Uint8Array, sequence: number, copyAfterMs: number) {
    this.#inner = inner;
    this.#journal = journal;
    this.#epoch = epoch;
    this.#sequence = sequence;
    this.#copied = sequence;
    this.#copyAfterMs = copyAfterMs;
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
    await this.#inTurn(() => this.#copyAll());
    this.#assertUsable();
    for await (const block of this.#inner.load(prefix, after).blocks()) {
      const rest = block.without(MARK_KEY);
      if (rest.size > 0) yield rest;
      this.#assertUsable();
    }
  }

  async commit(batch: readonly Change[]): Promise<void> {
    this.#assertUsable();
    const unnumbered = framed(batch);
    return this.#inTurn(async () => {
      this.#assertNotFailed();
      if (unnumbered.changes.length === 0) return;
      try {
        const frame = numbered(unnumbered, this.#sequence + 1, this.#epoch);
        if (frame.length > ROOM_BYTES) await this.#copyAll();
        else if (this.#end + frame.length > ROOM_BYTES) await this.#turn();
        this.#assertNotFailed();
        if (frame.length <= ROOM_BYTES) {
          await this.#journal.append(frame, this.#half, this.#end);
          this.#end += frame.length;
        }
        this.#sequence++;
        for (const change of unnumbered.changes) this.#note(change);
        // One that no half holds is not durable before it is in LMDB.
        if (frame.length > ROOM_BYTES) await this.#copyAll();
        else this.#setTimer();
      } catch (error) {
        this.#failure ??= { cause: error };
      }
      this.#assertNotFailed();
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#last;
    clearTimeout(this.#timer ?? undefined);
    // What cannot be copied now is in the journal, for the next opening.
    if (this.#failure === null) await this.#copyAll().catch(() => {});
    await this.#copying?.catch(() => {});
    const mark = markAt(this.#sequence, this.#epoch, false);
    if (this.#failure === null) await this.#inner.commit([mark]).catch(() => {});
    try {
      await this.#inner.close();
    } finally {
      this.#journal.close();
    }
  }

  /** What LMDB never saw and is gone again leaves nothing to copy. */
  #note({ key, value, isNew }: Change): void {
    if (value === null && this.#added.delete(key)) return void this.#changes.delete(key);
    // One whose deletion is still to be copied is there until then.
    if (isNew && !this.#changes.has(key)) this.#added.add(key);
    this.#changes.set(key, value);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  #setTimer(): void {
    this.#timer ??= setTimeout(() => this.#copyLater(), this.#copyAfterMs).unref();
  }

  #copyLater(): void {
    this.#timer = null;
    void this.#inTurn(async () => {
      if (this.#failure !== null || this.#closing !== null) return;
      if (this.#copying === null) await this.#turn();
      else this.#setTimer();
    });
  }

  /** Begins to copy the half that was written, once the other is free. */
  async #turn(): Promise<void> {
    await this.#copying;
    // Also when nothing is left of it: its frames count until the mark is behind them.
    if (this.#copied === this.#sequence || this.#failure !== null) return;
    this.#copied = this.#sequence;
    const batch = [...batchOf(this.#changes), markAt(this.#sequence, this.#epoch, true)];
    this.#changes = new Map();
    this.#added = new Set();
    this.#half = 1 - this.#half;
    this.#end = 0;
    this.#copying = this.#inner.commit(batch).then(
      () => {
        this.#copying = null;
      },
      (error: unknown) => {
        this.#copying = null;
        this.#failure ??= { cause: error };
      },
    );
  }

  async #copyAll(): Promise<void> {
    await this.#turn();
    await this.#copying;
    this.#assertNotFailed();
  }

  #assertUsable(): void {
    if (this.#closing !== null) throw new StoreClosedError();
    this.#assertNotFailed();
  }

  #assertNotFailed(): void {
    if (this.#failure === null) return;
    const { cause } = this.#failure;
    if (cause instanceof StoreFailedError) throw cause;
    throw new StoreFailedError(
      `A commit failed (${cause instanceof Error ? cause.message : String(cause)}). Whether it was applied is unknown until the store is opened ` +
        "anew. See that the disk works.",
      { cause },
    );
  }
}

function storeGone(directory: string): StoreUnusableError {
  return new StoreUnusableError(
    `The file "store.mdb" in "${directory}" is gone or emptied: the journal beside it was used, and this store never was. Put it back, or ` +
      "restore a backup of the whole data directory. To begin anew, remove all that is in this folder.",
  );
}

function thrown(error: unknown): never {
  throw error;
}

export async function readMark(store: { load(prefix: string): AsyncIterable<Entry> }): Promise<Mark | null> {
  for await (const entry of store.load(MARK_KEY))
    if (entry.key === MARK_KEY) return decodeRecord(entry) as Mark;
  return null;
}

function markAt(sequence: number, epoch: Uint8Array, isOpen: boolean): Change {
  const mark: Mark = { epoch: Buffer.from(epoch).toString("hex"), sequence, isOpen };
  return { key: MARK_KEY, value: encodeRecord(MARK_KEY, mark) };
}

function batchOf(changes: ReadonlyMap<string, Uint8Array | null>): Change[] {
  return Array.from(changes, ([key, value]) => ({ key, value }));
}
