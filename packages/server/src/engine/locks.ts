import { ChurnMap } from "lockdb/protocol";
import { Lock } from "./lock.js";

/** The locks of a service that are held or waited for: by name, and in the order in which they came to be. */
export class Locks {
  readonly #byName = new ChurnMap<string, Lock>();
  #oldest: Lock | null = null;
  #newest: Lock | null = null;

  get size(): number {
    return this.#byName.size;
  }

  get oldest(): Lock | null {
    return this.#oldest;
  }

  get(name: string): Lock | undefined {
    return this.#byName.get(name);
  }

  values(): Iterable<Lock> {
    return this.#byName.values();
  }

  /**
   * The lock of this name, made when there is none: whoever asks for it puts something there.
   * @param isRestored at a start, before all others
   */
  make(name: string, isRestored = false): Lock {
    let lock = this.#byName.get(name);
    if (lock !== undefined) return lock;
    lock = new Lock(name);
    lock.older = this.#newest;
    if (this.#newest === null) this.#oldest = lock;
    else this.#newest.newer = lock;
    this.#newest = lock;
    if (isRestored) this.#byName.addLasting(name, lock);
    else this.#byName.add(name, lock);
    return lock;
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
    for (const listing of listings ?? []) listing.moveTo(newer);
    // Else one that the collector has come to take for old would keep all that came after it.
    lock.older = null;
    lock.newer = null;
  }
}
