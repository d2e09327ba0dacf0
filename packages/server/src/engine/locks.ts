import { ChurnMap } from "lockdb/protocol";
import type { Holds } from "./holds.js";
import { Lock } from "./lock.js";
import type { PackedHolds } from "./packed-holds.js";

/** The locks of a service that are held or waited for: by name, and in the order in which they came to be. */
export class Locks {
  readonly #byName = new ChurnMap<string, Lock>();
  #oldest: Lock | null = null;
  #newest: Lock | null = null;
  /** The last of those that a start has brought. */
  #newestRestored: Lock | null = null;
  readonly #holds: Holds;

  constructor(holds: Holds) {
    this.#holds = holds;
  }

  /** Each has a lock of its own, which is none of these yet. */
  get packed(): PackedHolds | null {
    return this.#holds.packed;
  }

  get size(): number {
    return this.#byName.size + (this.packed?.size ?? 0);
  }

  /** The first of those that are not packed. */
  get oldest(): Lock | null {
    return this.#oldest;
  }

  get(name: string): Lock | undefined {
    const lock = this.#byName.get(name);
    const { packed } = this.#holds;
    if (lock !== undefined || packed === null) return lock;
    return packed.unpackByName(name) ? this.#byName.get(name) : undefined;
  }

  /** But for those that are packed: nobody waits for them. */
  values(): Iterable<Lock> {
    return this.#byName.values();
  }

  /**
   * The lock of this name, made when there is none: whoever asks for it puts something there.
   * @param isRestored it was there before the start: it comes before all that was not
   */
  make(name: string, isRestored = false): Lock {
    let lock = this.get(name);
    if (lock !== undefined) return lock;
    lock = new Lock(name);
    this.#insert(lock, isRestored ? this.#newestRestored : this.#newest);
    if (isRestored) this.#newestRestored = lock;
    if (isRestored) this.#byName.addLasting(name, lock);
    else this.#byName.add(name, lock);
    return lock;
  }

  #insert(lock: Lock, older: Lock | null): void {
    const newer = older === null ? this.#oldest : older.newer;
    lock.older = older;
    lock.newer = newer;
    if (older === null) this.#oldest = lock;
    else older.newer = lock;
    if (newer === null) this.#newest = lock;
    else newer.older = lock;
  }

  // A lock that nobody holds or wants takes no memory. Its next holder's token still outranks a late write of the
  // last one, since tokens are the service's and not the lock's (F1).
  forgetIdle(lock: Lock): void {
    if (!lock.isIdle || this.#byName.get(lock.name) !== lock) return;
    this.#byName.delete(lock.name);
    const { older, newer, listings } = lock;
    if (older === null) this.#oldest = newer;
    else older.newer = newer;
    if (newer === null) this.#newest = older;
    else newer.older = older;
    if (lock === this.#newestRestored) this.#newestRestored = older;
    for (const listing of listings ?? []) listing.moveTo(newer);
    // Else one that the collector has come to take for old would keep all that came after it.
    lock.older = null;
    lock.newer = null;
  }
}
