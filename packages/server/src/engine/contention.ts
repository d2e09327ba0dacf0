import type { HolderInfo, LockInfo, WaiterInfo } from "lockdb/protocol";
import { holderInfo, lockInfo, waiterInfo } from "./inspect.js";
import type { Lock, Walk } from "./lock.js";
import type { LockTable } from "./lock-table.js";
import type { PreviousHolds } from "./previous.js";
import type { Place } from "./queue.js";

/** How many of each are found. */
export const FOUND_MAX = 50;
/** Of a lock that very many share, those who came last are looked at. */
const GRIPS_MAX = 1_000;

/** A request that waits, the lock that it waits for, and who has that. */
export interface LongWait {
  readonly name: string;
  readonly waiter: WaiterInfo;
  /** Null: nobody has it. Others come first, or nothing is granted yet. */
  readonly holder: HolderInfo | null;
  readonly queueLength: number;
}

export interface OldHold {
  /** Of a set the lock that came to be held first. */
  readonly name: string;
  readonly holder: HolderInfo;
  readonly queueLength: number;
}

/** Where in a service it is crowded: 50 of each at most. */
export interface Crowds {
  /** Those with the longest queues, the longest first; none without one. */
  readonly hottest: readonly LockInfo[];
  readonly longestWaits: readonly LongWait[];
  readonly oldestHolds: readonly OldHold[];
  /** Grants since the service came to be in memory. */
  readonly grants: number;
}

/**
 * A walk over all locks of a service, which takes many steps: others are waiting. Locks may come and go meanwhile. It is for
 * whoever looks, and costs nothing while nobody does.
 */
export class Survey implements Walk {
  readonly #table: LockTable;
  readonly #previous: PreviousHolds;
  readonly #hottest = new Most<Lock>(FOUND_MAX, ({ waiterCount }) => waiterCount);
  readonly #oldest = new Most<{ readonly token: number; readonly grantedAtMs: number }>(
    FOUND_MAX,
    ({ grantedAtMs }) => -grantedAtMs,
  );
  /** The tokens of those that are in there before it comes to what is not packed, where it may meet them again. */
  readonly #foundPacked = new Set<number>();
  /** Which of the packed holds it looks at next. Null: no more of them. */
  #packedAt: number | null = 0;
  #at: Lock | null = null;

  constructor(table: LockTable, previous: PreviousHolds) {
    this.#table = table;
    this.#previous = previous;
  }

  /** The lock that it came to is over, and this is the next. */
  moveTo(lock: Lock | null): void {
    this.#packedAt = null;
    this.#at?.listings?.delete(this);
    this.#at = lock;
    if (lock === null) return;
    lock.listings ??= new Set();
    lock.listings.add(this);
  }

  /** Looks at about so many locks and holds more. @returns how many of them were left over; 0: it goes on here */
  step(budget: number): number {
    let left = this.#lookAtPacked(budget);
    if (this.#packedAt !== null) return 0;
    let lock = this.#at;
    for (; lock !== null && left > 0; lock = lock.newer) {
      left--;
      if (lock.waiterCount > 0) this.#hottest.add(lock);
      let grip = lock.firstGrip;
      for (let seen = 0; grip !== null && seen < GRIPS_MAX; seen++, grip = grip.nextOfLock) {
        // A set is shown once, by its first lock.
        if (grip === grip.hold && !this.#foundPacked.has(grip.hold.token)) this.#oldest.add(grip.hold);
        if (seen > 0) left--;
      }
    }
    this.moveTo(lock);
    return Math.max(0, left);
  }

  /** Nobody waits for their locks. Those that are not among the oldest stay packed. */
  #lookAtPacked(budget: number): number {
    if (this.#packedAt === null) return budget;
    const { packed, oldest } = this.#table.locks;
    let left = budget;
    let index = this.#packedAt;
    if (packed !== null) index = packed.firstFrom(index);
    for (; packed !== null && index < packed.end && left > 0; index = packed.firstFrom(index + 1)) {
      left--;
      this.#oldest.add({ token: packed.tokenOf(index), grantedAtMs: packed.grantedAtMs(index) });
    }
    this.#packedAt = index;
    if (packed !== null && index < packed.end) return left;
    for (const { token } of this.#oldest.items) this.#foundPacked.add(token);
    this.moveTo(oldest);
    return left;
  }

  get isDone(): boolean {
    return this.#packedAt === null && this.#at === null;
  }

  /** Nobody asks any more. */
  giveUp(): void {
    this.moveTo(null);
  }

  /** What was found, as it is now. */
  found(recovering: boolean, nowMs: number): Crowds {
    const { locks, arrivals, holds } = this.#table;
    const isThere = (lock: Lock) => locks.get(lock.name) === lock;
    const hottest = this.#hottest.items
      .filter((lock) => isThere(lock) && lock.waiterCount > 0)
      .map((lock) => {
        const previous = this.#previous.of(lock.name);
        return lockInfo(lock.name, lock, previous, recovering, nowMs, { max: 1 });
      });
    const oldestHolds = this.#oldest.items
      .map(({ token }) => holds.get(token))
      .filter((hold) => hold !== undefined)
      .map((hold) => ({
        name: hold.lock.name,
        holder: holderInfo(hold, hold.mode, nowMs),
        queueLength: hold.lock.waiterCount,
      }));
    const longestWaits = arrivals.first(FOUND_MAX).map((waiter): LongWait => {
      const place: Place = waiter.places.find(({ lock }) => lock.firstGrip !== null) ?? waiter;
      const { lock } = place;
      const grip = lock.firstGrip;
      return {
        name: lock.name,
        waiter: waiterInfo(place, nowMs),
        holder: grip === null ? null : holderInfo(grip.hold, grip.mode, nowMs),
        queueLength: lock.waiterCount,
      };
    });
    return { hottest, longestWaits, oldestHolds, grants: this.#table.grantCount };
  }
}

/** The greatest of many, the greatest first; of equal ones those that came first. */
export class Most<T> {
  readonly #max: number;
  readonly #sizeOf: (item: T) => number;
  readonly #found: { readonly item: T; readonly size: number }[] = [];

  constructor(max: number, sizeOf: (item: T) => number) {
    this.#max = max;
    this.#sizeOf = sizeOf;
  }

  get items(): readonly T[] {
    return this.#found.map(({ item }) => item);
  }

  add(item: T): void {
    const size = this.#sizeOf(item);
    const found = this.#found;
    if (found.length === this.#max && size <= found.at(-1)!.size) return;
    // Nearly all of them end above.
    let at = found.length;
    while (at > 0 && found[at - 1]!.size < size) at--;
    found.splice(at, 0, { item, size });
    if (found.length > this.#max) found.pop();
  }
}
