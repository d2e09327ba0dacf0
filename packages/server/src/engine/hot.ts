import type { Lock } from "./lock.js";
import type { LockTable } from "./lock-table.js";

/** Requests, and locks, that one look looks at: others are waiting. */
const LOOKED_AT_MAX = 2_000;

export interface HotLocks {
  /** Where somebody waits, the longest queue first. */
  readonly waitedFor: readonly Lock[];
  /** Those with the oldest holds, the oldest first. */
  readonly heldLong: readonly Lock[];
}

/**
 * What somebody should look at first. It looks at the requests that have waited longest, and at the locks that have been there
 * longest, and at no more of them than a step may: who waits longest, and who has held longest, is among these.
 */
export function hotLocks({ arrivals, locks }: LockTable, limit: number): HotLocks {
  const waitedFor = new Set<Lock>();
  let seen = 0;
  for (let waiter = arrivals.oldest; waiter !== null && seen < LOOKED_AT_MAX; waiter = waiter.cameBefore) {
    for (const { lock } of waiter.places) waitedFor.add(lock);
    seen++;
  }
  const held: { readonly lock: Lock; readonly sinceMs: number }[] = [];
  seen = 0;
  for (let lock = locks.oldest; lock !== null && seen < LOOKED_AT_MAX; lock = lock.newer, seen++) {
    const sinceMs = heldSinceMs(lock);
    if (sinceMs !== null) held.push({ lock, sinceMs });
  }
  return {
    waitedFor: [...waitedFor].sort((a, b) => b.waiterCount - a.waiterCount).slice(0, limit),
    heldLong: held
      .sort((a, b) => a.sinceMs - b.sinceMs)
      .slice(0, limit)
      .map(({ lock }) => lock),
  };
}

/** Since when the newest of its holders has it; null: nobody has, or it is closed only. */
function heldSinceMs({ hold }: Lock): number | null {
  return hold === null || hold.remainder ? null : hold.grantedAtMs;
}
