import { closeSync, fdatasyncSync, fstatSync, ftruncateSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setImmediate, setTimeout } from "node:timers/promises";
import type { RootDatabase } from "lmdb";
import { type Block, type Bytes, blockWith, entriesIn } from "./block.js";
import { StoreClosedError, StoreFailedError } from "./errors.js";
import {
  explained,
  giveUpOwnership,
  messageOf,
  openOrMake,
  syncDirectories,
  takeOwnership,
} from "./folder.js";
import { refuseMarked } from "./folder-marks.js";
import { type EncodedChange, encodeBatch, encodePrefix } from "./keys.js";
import { checkLmdbFile } from "./lmdb-file.js";
import { fillWithZeros, LmdbRoom } from "./lmdb-room.js";
import type { Change, Entries, Store } from "./store.js";

/**
 * Opens the store in the directory, which is made if absent and belongs to this process until `close` (R8).
 * @param isBeingMade true for whoever fills a folder that nobody else may use before it is whole
 */
export async function openLmdbStore(directory: string, isBeingMade = false): Promise<Store> {
  const path = resolve(directory);
  const firstMade = explained(path, () => mkdirSync(path, { recursive: true, mode: 0o700 }));
  const ownerFd = await takeOwnership(path);
  let room: LmdbRoom | null = null;
  try {
    if (!isBeingMade) refuseMarked(path);
    const file = join(path, STORE_FILE);
    explained(path, () => prepareFiles(file));
    explained(path, () => syncDirectories(path, firstMade === undefined ? path : dirname(firstMade)));
    await checkLmdbFile(file);
    room = new LmdbRoom(file);
    return new LmdbStore(await openDatabase(file), room, file, ownerFd);
  } catch (error) {
    room?.close();
    giveUpOwnership(ownerFd);
    throw error;
  }
}

export const STORE_FILE = "store.mdb";

/** Behind a key it makes the next one that there could be. */
const LEAST_BYTE = Buffer.of(0);

type Database = RootDatabase<Uint8Array, Buffer>;
/** In memory that is LMDB's own, and the next row's as soon as it is asked for. */
type Row = { readonly key: Bytes; readonly value: Bytes };

class LmdbStore implements Store {
  readonly #db: Database;
  readonly #room: LmdbRoom;
  readonly #file: string;
  readonly #ownerFd: number;
  readonly #loads = new Set<Iterator<Row>>();
  #lastCommit: Promise<void> = Promise.resolve();
  #failure: { readonly cause: unknown } | null = null;
  #closing: Promise<void> | null = null;

  constructor(db: Database, room: LmdbRoom, file: string, ownerFd: number) {
    this.#db = db;
    this.#room = room;
    this.#file = file;
    this.#ownerFd = ownerFd;
  }

  load(prefix: string, after = ""): Entries {
    return entriesIn(
      () => this.#blocks(prefix, after),
      () => this.#assertUsable(),
    );
  }

  async *#blocks(prefix: string, after: string): AsyncGenerator<Block> {
    const below = encodePrefix(prefix);
    const behind = encodePrefix(after);
    this.#assertUsable();
    const start =
      behind.length > 0 ? Buffer.concat([behind, LEAST_BYTE]) : below.length > 0 ? below : LEAST_BYTE;
    // No key in UTF-8 has the byte 255. LMDB's iterator keeps to the snapshot it began with, however long it takes.
    const range = { start, end: Buffer.concat([below, Buffer.of(0xff)]) };
    const rows = this.#db.getRange(range)[Symbol.iterator]() as Iterator<unknown> as Iterator<Row>;
    this.#loads.add(rows);
    try {
      let last: Block | null = null;
      for (let row = rows.next(); !row.done; row = rows.next()) {
        const block = blockWith(last, row.value.key, row.value.value);
        if (last !== null && block !== last) {
          yield last;
          await setImmediate();
          this.#assertUsable();
        }
        last = block;
      }
      if (last !== null) yield last;
    } finally {
      this.#loads.delete(rows);
      rows.return?.();
    }
  }

  async commit(batch: readonly Change[]): Promise<void> {
    this.#assertUsable();
    const changes = encodeBatch(batch);
    // One write in flight: LMDB would go on with a second one after the first has failed.
    const written = this.#lastCommit.then(() => this.#write(changes));
    this.#lastCommit = written.catch(() => {});
    return written;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #write(changes: readonly EncodedChange[]): Promise<void> {
    this.#assertNotFailed();
    if (changes.length === 0) {
      return;
    }
    try {
      this.#room.reserve(changes);
      // Nothing in here may throw: LMDB would commit what came before. That is why all was encoded first.
      await this.#db.batch(() => {
        for (const { key, value } of changes) {
          if (value === null) {
            void this.#db.remove(key);
          } else {
            void this.#db.put(key, value);
          }
        }
      });
    } catch (error) {
      this.#failure = { cause: await causeOf(error) };
      this.#assertNotFailed();
    }
  }

  async #close(): Promise<void> {
    await this.#lastCommit;
    // An open cursor must not outlive its environment.
    for (const rows of this.#loads) {
      rows.return?.();
    }
    try {
      await this.#db.close();
    } finally {
      this.#room.close();
      giveUpOwnership(this.#ownerFd);
    }
  }

  #assertUsable(): void {
    if (this.#closing !== null) {
      throw new StoreClosedError();
    }
    this.#assertNotFailed();
  }

  #assertNotFailed(): void {
    if (this.#failure !== null) {
      const { cause } = this.#failure;
      throw new StoreFailedError(
        `A commit to "${this.#file}" failed (${messageOf(cause)}). Whether it was applied is unknown until the store is ` +
          "opened anew. See that the disk has room and works.",
        { cause },
      );
    }
  }
}

const CAUSE_MS_MAX = 1_000;

/** The reason is a second promise on LMDB's error; uncaught, it would end the process. */
async function causeOf(error: unknown): Promise<unknown> {
  try {
    const { commitError } = error as { commitError?: Promise<unknown> };
    await Promise.race([commitError, setTimeout(CAUSE_MS_MAX, undefined, { ref: false })]);
    return error;
  } catch (cause) {
    return cause;
  }
}

/**
 * `overlappingSync` off: a commit's promise then means flushed, and a failed flush is told. `eventTurnBatching` off: it
 * makes promises that nobody can catch. Keys are bytes to LMDB, which are their order. What it reads it gives where it lies: a
 * buffer for each key and each value was a third of what a start took.
 */
async function openDatabase(file: string): Promise<Database> {
  const { open } = await import("lmdb");
  const options = {
    path: file,
    noSubdir: true,
    encoding: "binary",
    encoder: { encode: (value: Uint8Array) => value, decode: placeOfValue() },
    keyEncoder: { writeKey, readKey: placeOfKey() },
    overlappingSync: false,
    eventTurnBatching: false,
  } as const;
  return explained(dirname(file), () => open<Uint8Array, Buffer>(options));
}

function writeKey(key: Buffer, to: Buffer, at: number): number {
  to.set(key, at);
  return at + key.length;
}

const EMPTY: Uint8Array = new Uint8Array(0);

/** The same object each time. */
function placeOfKey(): (bytes: Uint8Array, start: number, end: number) => Bytes {
  const place = { bytes: EMPTY, start: 0, length: 0 };
  return (bytes, start, end) => {
    place.bytes = bytes;
    place.start = start;
    place.length = end - start;
    return place;
  };
}

function placeOfValue(): (bytes: Uint8Array, length: number) => Bytes {
  const place = { bytes: EMPTY, start: 0, length: 0 };
  return (bytes, length) => {
    place.bytes = bytes;
    place.length = length;
    return place;
  };
}

/**
 * LMDB ends the process when its files cannot be opened or the disk is full while it makes them, so we try first: both
 * can be opened, and have room. Its lock file holds nothing that outlives a process.
 */
function prepareFiles(file: string): void {
  const fd = openOrMake(file);
  const isNew = fstatSync(fd).size === 0;
  closeSync(fd);
  const lockFd = openOrMake(`${file}-lock`);
  try {
    if (isNew || fstatSync(lockFd).size < LOCK_FILE_BYTES) {
      fillWithZeros(lockFd, 0, isNew ? NEW_STORE_BYTES : LOCK_FILE_BYTES);
      fdatasyncSync(lockFd);
      ftruncateSync(lockFd, LOCK_FILE_BYTES);
    }
  } finally {
    closeSync(lockFd);
  }
}

const LOCK_FILE_BYTES = 16_384;
const NEW_STORE_BYTES = 262_144;
