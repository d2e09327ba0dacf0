import { closeSync, existsSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { RootDatabase } from "lmdb";
import { StoreUnusableError } from "./errors.js";
import { explained, giveUpOwnership, openOrMake, takeOwnership } from "./folder.js";
import { Journal } from "./journal.js";
import { MARK_KEY, type Mark, readMark } from "./journaled.js";
import { STORE_FILE } from "./lmdb.js";
import { checkLmdbFile } from "./lmdb-file.js";
import type { Entry } from "./store.js";

const ROWS_A_TURN = 1_000;
const NEXT_STEP_IN_USE = "Stop that server first. What a running one has, `lockdb store backup` writes down.";

/** How the last server left a folder. */
export interface JournalState {
  /** False after a crash, or a power cut. */
  readonly stoppedInOrder: boolean;
  /** Batches that stand in the journal alone. */
  readonly batches: number;
}

/**
 * The store of a server that does not run, to be looked at: nothing in it is changed, and no server can start with it until
 * `close`. What stands in the journal alone is seen as if it had been copied.
 */
export class OfflineStore {
  readonly journal: JournalState;
  readonly #db: RootDatabase<Uint8Array, Buffer>;
  readonly #changes: readonly Changed[];
  readonly #ownerFd: number;

  private constructor(
    db: RootDatabase<Uint8Array, Buffer>,
    journal: JournalState,
    changes: readonly Changed[],
    ownerFd: number,
  ) {
    this.#db = db;
    this.journal = journal;
    this.#changes = changes;
    this.#ownerFd = ownerFd;
  }

  /** @throws StoreInUseError, StoreUnusableError when there is no store, or a damaged one (R9) */
  static async open(directory: string): Promise<OfflineStore> {
    const path = resolve(directory);
    const file = join(path, STORE_FILE);
    if (!existsSync(file) || statSync(file).size === 0)
      throw new StoreUnusableError(
        `There is no LockDB store in "${path}". Name the data directory of a server.`,
      );
    const ownerFd = await takeOwnership(path, NEXT_STEP_IN_USE);
    let db: RootDatabase<Uint8Array, Buffer> | null = null;
    try {
      await checkLmdbFile(file);
      db = await openToRead(file);
      const mark = await readMark({ load: () => rowsOf(db!) });
      const { journal, changes } = journalOf(join(path, "journal"), mark);
      return new OfflineStore(db, journal, changes, ownerFd);
    } catch (error) {
      await db?.close();
      giveUpOwnership(ownerFd);
      throw error;
    }
  }

  /** All records, in the order of their keys. */
  async *load(): AsyncGenerator<Entry> {
    let at = 0;
    for await (const entry of rowsOf(this.#db)) {
      const key = Buffer.from(entry.key);
      let isChanged = false;
      for (; at < this.#changes.length; at++) {
        const order = this.#changes[at]!.bytes.compare(key);
        if (order > 0) break;
        isChanged = order === 0;
        yield* entryOf(this.#changes[at]!);
      }
      if (!isChanged && entry.key !== MARK_KEY) yield entry;
    }
    for (; at < this.#changes.length; at++) yield* entryOf(this.#changes[at]!);
  }

  async close(): Promise<void> {
    try {
      await this.#db.close();
    } finally {
      giveUpOwnership(this.#ownerFd);
    }
  }
}

interface Changed {
  readonly key: string;
  readonly bytes: Buffer;
  readonly value: Uint8Array | null;
}

function* entryOf({ key, value }: Changed): Generator<Entry> {
  if (value !== null) yield { key, value };
}

async function openToRead(file: string): Promise<RootDatabase<Uint8Array, Buffer>> {
  const { open } = await import("lmdb");
  const options = {
    path: file,
    noSubdir: true,
    encoding: "binary",
    keyEncoding: "binary",
    readOnly: true,
  } as const;
  return explained(dirname(file), () => {
    // LMDB dies of a segmentation fault when it cannot have its lock file.
    closeSync(openOrMake(`${file}-lock`));
    return open<Uint8Array, Buffer>(options);
  });
}

async function* rowsOf(db: RootDatabase<Uint8Array, Buffer>): AsyncGenerator<Entry> {
  let count = 0;
  for (const row of db.getRange({})) {
    // No Buffer: its `slice` shares memory where that of a Uint8Array copies.
    const { buffer, byteOffset, byteLength } = row.value;
    yield { key: row.key.toString("utf8"), value: new Uint8Array(buffer, byteOffset, byteLength) };
    if (++count % ROWS_A_TURN === 0) await setImmediate();
  }
}

function journalOf(
  file: string,
  mark: Mark | null,
): { readonly journal: JournalState; readonly changes: readonly Changed[] } {
  const stoppedInOrder = mark?.isOpen !== true;
  const journal = mark === null ? null : Journal.openToRead(file, mark.isOpen);
  try {
    const frames = journal?.frames(Buffer.from(mark!.epoch, "hex"), mark!.sequence) ?? [];
    const byKey = new Map<string, Uint8Array | null>();
    for (const { changes } of frames) for (const { key, value } of changes) byKey.set(key, value);
    const changes = Array.from(byKey, ([key, value]) => ({ key, bytes: Buffer.from(key), value }));
    changes.sort((a, b) => a.bytes.compare(b.bytes));
    return { journal: { stoppedInOrder, batches: frames.length }, changes };
  } finally {
    journal?.close();
  }
}
