import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { ClusterAtRest } from "../cluster/index.js";
import {
  type Change,
  markFolder,
  openLmdbStore,
  StoreInUseError,
  StoreUnusableError,
  syncDirectories,
  unmarkFolder,
} from "../store/index.js";

const CHANGES_A_BATCH = 5_000;
/** In the first folder of some file systems, such as a new volume. */
const OF_THE_DISK = "lost+found";
const BYTES_A_BATCH = 4 * 1_024 * 1_024;

/** Where records go. */
interface FilledPlace {
  commit(changes: readonly Change[]): Promise<void>;
  /** Nothing more comes. */
  written(): Promise<void>;
  finish(): Promise<void>;
  empty(): Promise<void>;
}

/**
 * A folder, or a cluster in etcd, that is made into a store. From its first file to its last it has a mark that says that it is not whole: no server starts with
 * it, however this process ends.
 */
export class Filling {
  readonly #place: FilledPlace;
  #batch: Change[] = [];
  #bytes = 0;

  private constructor(place: FilledPlace) {
    this.#place = place;
  }

  /**
   * Begins to fill a folder, which is empty or is made.
   * @param from where the records come from, for whoever finds the folder unfinished
   * @throws StoreUnusableError when something is in it
   */
  static async begin(folder: string, from: string, id: string = randomUUID()): Promise<Filling> {
    const directory = resolve(folder);
    assertEmpty(directory);
    const firstMade = mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (firstMade !== undefined) syncDirectories(dirname(directory), dirname(firstMade));
    markFolder(directory, "unfinished", { id, other: resolve(from), at: new Date().toISOString() });
    try {
      const store = await openLmdbStore(directory, true);
      return new Filling({
        commit: (changes) => store.commit(changes),
        written: () => store.close(),
        finish: async () => unmarkFolder(directory, "unfinished"),
        empty: async () => {
          await store.close().catch(() => {});
          empty(directory);
        },
      });
    } catch (error) {
      // Somebody else's files are not ours to remove.
      if (error instanceof StoreInUseError) unmarkFolder(directory, "unfinished");
      else empty(directory);
      throw error;
    }
  }

  /** Begins to fill a cluster of which nothing is in etcd yet. @throws StoreUnusableError when something is */
  static async beginInEtcd(
    cluster: ClusterAtRest,
    from: string,
    id: string = randomUUID(),
  ): Promise<Filling> {
    await cluster.fill({ id, other: from, at: new Date().toISOString() });
    return new Filling({
      commit: (changes) => cluster.put(changes),
      written: () => cluster.putOwners(),
      finish: () => cluster.unmark(),
      // Where etcd does not answer its mark is left, and nobody starts with it.
      empty: () => cluster.empty().catch(() => {}),
    });
  }

  async put(change: Change): Promise<void> {
    this.#batch.push(change);
    this.#bytes += change.value?.length ?? 0;
    if (this.#batch.length >= CHANGES_A_BATCH || this.#bytes >= BYTES_A_BATCH) await this.#commit();
  }

  /** All records are there, durably. The mark is still there, too. */
  async written(): Promise<void> {
    await this.#commit();
    await this.#place.written();
  }

  /** It is a store from now on. */
  async finish(): Promise<void> {
    await this.#place.finish();
  }

  /** It came to nothing: the place is empty again. */
  async undo(): Promise<void> {
    await this.#place.empty();
  }

  async #commit(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#bytes = 0;
    await this.#place.commit(batch);
  }
}

/** @throws StoreUnusableError that names what is in it */
export function assertEmpty(directory: string): void {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new StoreUnusableError(`The folder "${directory}" cannot be used (${(error as Error).message}).`, {
      cause: error,
    });
  }
  const found = names.find((name) => name !== OF_THE_DISK);
  if (found !== undefined)
    throw new StoreUnusableError(
      `The folder "${directory}" is not empty: "${found}" is in it. Name an empty folder, or one that is not there yet.`,
    );
}

/** Only what this process has put there: it was empty. The mark goes last. */
function empty(directory: string): void {
  for (const name of readdirSync(directory))
    if (name !== "unfinished.json" && name !== OF_THE_DISK)
      rmSync(join(directory, name), { recursive: true });
  unmarkFolder(directory, "unfinished");
}
