import type { SessionPage, SessionSeen } from "lockdb/protocol";
import type { Session } from "./state.js";

/** Names that are shown of what a session holds, and of what it waits for. */
const NAMES_SHOWN_MAX = 10;

/**
 * Sessions in the order in which they came, page by page. Their ids are not shown: whoever knows one can end it.
 * @param after the number of the last session of the page before
 */
export function sessionPage(
  sessions: Iterable<Session>,
  after: number,
  limit: number,
  nowMs: number,
): SessionPage {
  const seen: SessionSeen[] = [];
  for (const session of sessions) {
    if (session.number <= after) continue;
    if (seen.length === limit) return { sessions: seen, next: seen.at(-1)!.number };
    seen.push(sessionSeen(session, nowMs));
  }
  return { sessions: seen, next: null };
}

function sessionSeen(session: Session, nowMs: number): SessionSeen {
  const holds: string[] = [];
  for (let hold = session.firstHold; hold !== null; hold = hold.nextOfSession) {
    for (const { lock } of hold.grips) if (holds.length < NAMES_SHOWN_MAX) holds.push(lock.name);
    if (holds.length === NAMES_SHOWN_MAX) break;
  }
  const waitsFor: string[] = [];
  for (const waiter of session.waiters.values()) {
    for (const { lock } of waiter.places) if (waitsFor.length < NAMES_SHOWN_MAX) waitsFor.push(lock.name);
    if (waitsFor.length === NAMES_SHOWN_MAX) break;
  }
  return {
    number: session.number,
    owner: session.owner,
    kind: session.isHttp ? "http" : session.reads ? "reader" : "native",
    state: session.awaited ? "awaited" : session.isHttp || session.address !== null ? "here" : "away",
    leaseMs: session.leaseMs,
    expiresInMs: Math.max(0, session.expiresAtMs - nowMs),
    holdCount: session.holdCount,
    holds,
    waiterCount: session.waiters.size,
    waitsFor,
  };
}
