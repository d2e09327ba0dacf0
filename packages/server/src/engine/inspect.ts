import type { HolderInfo, LockInfo, LockMode, Previous, WaiterInfo } from "lockdb/protocol";
import type { Lock } from "./lock.js";
import type { Mode } from "./modes.js";
import type { Place } from "./queue.js";
import type { Hold } from "./state.js";

const SHOWN_MAX = 100;
/** Names that are shown of a set, and of what is waited for inside a hold. */
const NAMES_SHOWN_MAX = 16;

/**
 * Who has a lock and who waits for it (Q9). A lock that nobody holds or wants is free, not absent.
 * @param max how many holders and waiters are shown at most; `first` of the holders, if it is one
 */
export function lockInfo(
  name: string,
  lock: Lock | undefined,
  previous: Previous | undefined,
  recovering: boolean,
  nowMs: number,
  { max = SHOWN_MAX, first }: { readonly max?: number; readonly first?: Hold | undefined } = {},
): LockInfo {
  return {
    name,
    held: lock !== undefined && lock.firstGrip !== null,
    holders: lock === undefined ? [] : holdersOf(lock, max, first, nowMs),
    holderCount: lock?.holderCount ?? 0,
    queue: (lock?.firstWaiters(max) ?? []).map((place) => waiterInfo(place, nowMs)),
    queueLength: lock?.waiterCount ?? 0,
    ...(previous === undefined ? {} : { previous }),
    recovering,
  };
}

export function waiterInfo({ waiter, mode, isQueued }: Place, nowMs: number): WaiterInfo {
  return {
    ticket: waiter.ticket,
    owner: waiter.owner,
    waitingForMs: nowMs - waiter.since,
    ...modeInfo(mode, waiter.places),
    away: !isQueued,
  };
}

/** The holders of a lock, the newest first. */
function holdersOf(lock: Lock, max: number, first: Hold | undefined, nowMs: number): readonly HolderInfo[] {
  const holders: HolderInfo[] = [];
  const grip = first?.grips.find((each) => each.lock === lock);
  if (grip !== undefined) holders.push(holderInfo(grip.hold, grip.mode, nowMs));
  for (let grip = lock.firstGrip; grip !== null && holders.length < max; grip = grip.nextOfLock) {
    if (grip.hold === first) continue;
    holders.push(holderInfo(grip.hold, grip.mode, nowMs));
  }
  return holders;
}

export function holderInfo(hold: Hold, mode: Mode, nowMs: number): HolderInfo {
  const waitsFor = waitedForInside(hold);
  return {
    token: hold.token,
    owner: hold.owner,
    state: hold.remainder ? "closed" : "held",
    ...modeInfo(mode, hold.grips),
    ...(waitsFor.length === 0 ? {} : { waitsFor }),
    ...(hold.leads ? { leads: true } : {}),
    ...(hold.askedFor === null ? {} : { askedFor: hold.askedFor }),
    detached: hold.session === null,
    // After a crash the lease clock may be a little behind what it has been.
    heldForMs: Math.max(0, nowMs - hold.grantedAtMs),
    expiresInMs: Math.max(0, endsAtMs(hold) - nowMs),
    metadata: hold.metadata,
  };
}

function waitedForInside({ nested }: Hold): readonly string[] {
  const names: string[] = [];
  for (const waiter of nested ?? []) {
    for (const { lock } of waiter.places) {
      if (names.length === NAMES_SHOWN_MAX) return names;
      names.push(lock.name);
    }
  }
  return names;
}

interface ModeInfo {
  readonly mode: LockMode;
  readonly permits?: number;
  readonly weight?: number;
  readonly names?: readonly string[];
}

function modeInfo({ shared, permits, weight }: Mode, set: readonly { readonly lock: Lock }[]): ModeInfo {
  const names = set.length === 1 ? {} : { names: set.slice(0, NAMES_SHOWN_MAX).map(({ lock }) => lock.name) };
  if (permits > 0) return { mode: "semaphore", permits, weight, ...names };
  return { mode: shared ? "shared" : "exclusive", ...names };
}

/** When a hold ends if nothing renews it. */
export function endsAtMs(hold: Hold): number {
  if (hold.session === null) return hold.dueMs;
  return Math.min(hold.session.expiresAtMs, hold.maxUntilMs ?? Number.POSITIVE_INFINITY);
}
