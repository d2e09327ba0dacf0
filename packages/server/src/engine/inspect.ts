import type { HolderInfo, LockInfo, Previous, WaiterInfo } from "lockdb/protocol";
import type { Hold, Lock } from "./state.js";

const QUEUE_SHOWN_MAX = 100;

/** Who has a lock and who waits for it (Q9). A lock that nobody holds or wants is free, not absent. */
export function lockInfo(
  name: string,
  lock: Lock | undefined,
  previous: Previous | undefined,
  recovering: boolean,
  nowMs: number,
): LockInfo {
  const hold = lock?.hold ?? null;
  const queue = (lock?.firstWaiters(QUEUE_SHOWN_MAX) ?? []).map(
    ({ ticket, owner, since, isQueued }): WaiterInfo => ({
      ticket,
      owner,
      waitingForMs: nowMs - since,
      away: !isQueued,
    }),
  );
  const holders = hold === null ? [] : [holderInfo(hold, nowMs)];
  return {
    name,
    held: hold !== null,
    holders,
    queue,
    queueLength: lock?.waiterCount ?? 0,
    ...(previous === undefined ? {} : { previous }),
    recovering,
  };
}

export function holderInfo(hold: Hold, nowMs: number): HolderInfo {
  return {
    token: hold.token,
    owner: hold.owner,
    state: hold.remainder ? "closed" : "held",
    mode: "exclusive",
    detached: hold.session === null,
    heldForMs: nowMs - hold.grantedAtMs,
    expiresInMs: Math.max(0, endsAtMs(hold) - nowMs),
    metadata: hold.metadata,
  };
}

function endsAtMs(hold: Hold): number {
  if (hold.session === null) return hold.dueMs;
  return Math.min(hold.session.expiresAtMs, hold.maxUntilMs ?? Number.POSITIVE_INFINITY);
}
