import { type Change, type Entries, openMemoryStore, type Store } from "../../src/store/index.js";
import { PATIENCE_MS, within } from "./server.js";

/** A commit that waits for the test to say what becomes of it. */
export interface Commit {
  readonly batch: readonly Change[];
  /** Writes it, and tells so. */
  succeed(): void;
  /** Tells that it failed; it may have been written all the same (R7). */
  fail(isWritten?: boolean): void;
}

/** A store in memory whose commits the test ends by hand, when it wants to. */
export class ManualStore implements Store {
  isManual = false;
  closeCount = 0;
  commitCount = 0;
  readonly #memory = openMemoryStore();
  readonly #commits: Commit[] = [];
  readonly #wakers = new Set<() => void>();

  load(prefix: string, after?: string): Entries {
    return this.#memory.load(prefix, after);
  }

  commit(batch: readonly Change[]): Promise<void> {
    this.commitCount++;
    if (!this.isManual) return this.#memory.commit(batch);
    return new Promise((resolve, reject) => {
      this.#commits.push({
        batch,
        succeed: () => void this.#memory.commit(batch).then(resolve),
        fail: (isWritten = false) => {
          const written = isWritten ? this.#memory.commit(batch) : Promise.resolve();
          void written.then(() => reject(new Error("the disk is full")));
        },
      });
      for (const waker of this.#wakers) waker();
    });
  }

  async close(): Promise<void> {
    this.closeCount++;
  }

  /** The first commit that nobody has taken. */
  async nextCommit(): Promise<Commit> {
    while (this.#commits.length === 0) {
      await within(PATIENCE_MS, "a commit", new Promise<void>((resolve) => this.#wakers.add(resolve)));
    }
    return this.#commits.shift()!;
  }

  get commitsWaiting(): number {
    return this.#commits.length;
  }
}
