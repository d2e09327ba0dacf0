import type { HolderInfo, LockNames, WaiterInfo } from "../../packages/lockdb/dist/protocol/messages.js";

/**
 * How somebody has or wants one lock. What fits together is said here once more, and otherwise than in the engine: a mistake
 * made there must not be made here.
 */
export interface Want {
  readonly lock: string;
  readonly mode: "exclusive" | "shared" | "semaphore";
  /** Of a semaphore; else 0. */
  readonly permits: number;
  readonly weight: number;
}

export function wantsOf(names: LockNames): readonly Want[] {
  if (typeof names === "string") return [exclusive(names)];
  return names.map((spec): Want => {
    if (typeof spec === "string") return exclusive(spec);
    const [lock, kind, weight = 1] = spec;
    if (kind === "shared") return { lock, mode: "shared", permits: 0, weight: 1 };
    return kind === 1 ? exclusive(lock) : { lock, mode: "semaphore", permits: kind, weight };
  });
}

export function exclusive(lock: string): Want {
  return { lock, mode: "exclusive", permits: 0, weight: 1 };
}

export function locksOf(wants: readonly Want[]): readonly string[] {
  return wants.map(({ lock }) => lock);
}

/** True when all of these may be in one lock together (Q4). */
export function fit(wants: readonly Want[]): boolean {
  const [first] = wants;
  if (wants.length < 2) return true;
  if (wants.some(({ mode, permits }) => mode !== first!.mode || permits !== first!.permits)) return false;
  if (first!.mode === "semaphore")
    return wants.reduce((sum, { weight }) => sum + weight, 0) <= first!.permits;
  return first!.mode === "shared";
}

/** True when these two sets of locks cannot be held at the same time. */
export function conflict(some: readonly Want[], others: readonly Want[]): boolean {
  return some.some((a) => others.some((b) => a.lock === b.lock && !fit([a, b])));
}

/** True when who has one lock so may as well have asked for it like that (D3). */
export function serves(held: Want, wanted: Want): boolean {
  if (held.lock !== wanted.lock || held.permits !== wanted.permits) return false;
  if (held.mode === "exclusive") return wanted.mode !== "semaphore";
  return held.mode === wanted.mode && wanted.weight <= held.weight;
}

/** What `inspect` says of a holder or waiter of a lock. */
export function wantOf(lock: string, { mode, permits = 0, weight = 1 }: HolderInfo | WaiterInfo): Want {
  return { lock, mode, permits, weight };
}
