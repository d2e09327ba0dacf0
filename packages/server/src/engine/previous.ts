import type { Previous } from "lockdb/protocol";
import type { Effects, PreviousRecord } from "./commands.js";

/** How many locks a service remembers the lost hold of. Over it the oldest is forgotten (N3). */
export const LOST_HOLDS_MAX = 100_000;

/**
 * The last holds of locks, where they ended by expiry or force. Whoever holds such a lock next is told, until one of them
 * has ended by its holder's wish: by then it has repaired what had to be (Q11). Kept by name and not in the locks,
 * which are forgotten when they are idle.
 */
export class PreviousHolds {
  /** Oldest first. */
  readonly #byName = new Map<string, Previous>();
  readonly #max: () => number;
  /** Where the oldest is: from the beginning, each look would pass all that were forgotten since. */
  #oldest = this.#byName.keys();

  /** So many at most, if that is less; it may change. */
  constructor(max: () => number = () => LOST_HOLDS_MAX) {
    this.#max = max;
  }

  of(name: string): Previous | undefined {
    // Almost always there is none, and this is on every grant's way.
    return this.#byName.size === 0 ? undefined : this.#byName.get(name);
  }

  /** A hold has ended, and not by its holder's wish. */
  remember(name: string, previous: Previous, out: Effects): void {
    // Newest last.
    this.#byName.delete(name);
    this.#byName.set(name, previous);
    out.changes.push({ type: "previous", id: name, value: previous });
    if (this.#byName.size > Math.min(LOST_HOLDS_MAX, this.#max())) this.settle(this.#takeOldest(), out);
  }

  #takeOldest(): string {
    let next = this.#oldest.next();
    if (next.done) {
      // It has come to the end once, when there were few.
      this.#oldest = this.#byName.keys();
      next = this.#oldest.next();
    }
    return next.value!;
  }

  /** A later holder has given the lock back. */
  settle(name: string, out: Effects): void {
    if (this.of(name) === undefined) return;
    this.#byName.delete(name);
    out.changes.push({ type: "previous", id: name, value: null });
  }

  /** Takes up the records of an earlier process, given with the lowest token first. */
  restore(name: string, previous: PreviousRecord): void {
    this.#byName.set(name, previous);
  }
}
