import type { Arrivals } from "./arrivals.js";
import { holderInfo } from "./inspect.js";
import type { Place } from "./queue.js";
import type { Waiter } from "./state.js";

/** So many are counted in one step; the rest is for the next. */
const COUNTED_MAX = 10_000;
/** Names that are told of a set. */
const NAMES_MAX = 16;

/** A request that has waited long, and who is in its way. */
export interface SlowWait {
  readonly names: readonly string[];
  readonly owner: string;
  readonly ticket: number;
  readonly waitedMs: number;
  /** The lock that the rest is about: of a set the first that somebody else has. */
  readonly lock: string;
  /** Null: nobody has it. Others come first, or nothing is granted yet. */
  readonly holder: {
    readonly owner: string;
    readonly token: number;
    readonly heldMs: number;
    readonly state: "held" | "closed";
  } | null;
  readonly queueLength: number;
}

/** Those who have come to wait too long since the last time, each once: how many, and the first of them. */
export function takeSlowWaits(
  arrivals: Arrivals,
  { slowMs, shownMax }: { readonly slowMs: number; readonly shownMax: number },
  nowMs: number,
): { readonly count: number; readonly shown: readonly SlowWait[] } {
  const shown: SlowWait[] = [];
  let count = 0;
  for (; count < COUNTED_MAX; count++) {
    const waiter = arrivals.takeSlow(nowMs - slowMs);
    if (waiter === null) break;
    if (shown.length < shownMax) shown.push(slowWait(waiter, nowMs));
  }
  return { count, shown };
}

function slowWait(waiter: Waiter, nowMs: number): SlowWait {
  const { places, owner, ticket, since } = waiter;
  const { lock }: Place = places.find((place) => place.lock.firstGrip !== null) ?? waiter;
  const grip = lock.firstGrip;
  const info = grip === null ? null : holderInfo(grip.hold, grip.mode, nowMs);
  return {
    names: places.slice(0, NAMES_MAX).map((place) => place.lock.name),
    owner,
    ticket,
    waitedMs: nowMs - since,
    lock: lock.name,
    holder:
      info === null
        ? null
        : { owner: info.owner, token: info.token, heldMs: info.heldForMs, state: info.state },
    queueLength: lock.waiterCount,
  };
}
