import { ANSWER_KEPT_MS, type ServerMessage } from "lockdb/protocol";
import type { Effects, HoldRecord } from "./commands.js";
import { Deadlines } from "./deadlines.js";
import { forcedMessage, grantedMessage } from "./replies.js";
import {
  type Caller,
  type Ending,
  Hold,
  type HoldTerms,
  type KeptAnswer,
  Lock,
  type Session,
  Waiter,
} from "./state.js";

/** How many tokens and tickets are reserved at a time (F2). */
const BLOCK = 100_000;

/** Who a grant or a place in a queue is for. Exactly one of `session` and `caller` is set. */
export interface Requester {
  readonly session: Session | null;
  readonly caller: Caller | null;
  readonly id: number;
  readonly owner: string;
}

/** A request's name over all sessions of its client, and over crashes. */
export function requestKey(client: string, id: number): string {
  return `${client}/${id}`;
}

/** Locks, holds and queues of one service: who has what, who is next, and the numbers they get. */
export class LockTable {
  readonly locks = new Map<string, Lock>();
  readonly holds = new Map<number, Hold>();
  readonly deadlines = new Deadlines<Ending>();
  /** Requests by `client/id`: the hold one has made, or the answer that is kept after it (Q6). */
  readonly requests = new Map<string, Hold | KeptAnswer>();
  /** False while the service recovers: nothing is granted (R4). */
  granting = true;
  /** Holds that belong to no session. */
  detachedCount = 0;
  /** Durable answers that are kept. */
  keptCount = 0;
  readonly #writesSessionHolds: boolean;
  #tokenNext = 1;
  #tokenCeiling = 1;
  #ticketNext = 1;
  #ticketCeiling = 1;

  constructor(writesSessionHolds: boolean) {
    this.#writesSessionHolds = writesSessionHolds;
  }

  /** The next token and ticket: above all that were ever given out. */
  get ceilings(): { readonly tokens: number; readonly tickets: number } {
    return { tokens: this.#tokenNext, tickets: this.#ticketNext };
  }

  /** Starts above a ceiling that was made durable before (F1). */
  startAbove(tokens: number, tickets: number): void {
    this.#tokenNext = this.#tokenCeiling = tokens;
    this.#ticketNext = this.#ticketCeiling = tickets;
  }

  lockNamed(name: string): Lock {
    let lock = this.locks.get(name);
    if (lock === undefined) {
      lock = new Lock(name);
      this.locks.set(name, lock);
    }
    return lock;
  }

  enqueue(
    lock: Lock,
    from: Requester,
    terms: HoldTerms,
    waitMs: number,
    ticket: number | null,
    nowMs: number,
    out: Effects,
  ): Waiter {
    const waiter = new Waiter(ticket ?? this.#takeTicket(out), lock, from, from.owner, terms, nowMs);
    // What a session says before its `sync` counts from then on, all at once.
    lock.add(waiter, from.session?.syncing === true);
    from.session?.waiters.set(from.id, waiter);
    if (from.session !== null) waiter.seenOn = from.session.connection;
    if (from.caller !== null) from.caller.waiter = waiter;
    if (waitMs !== Number.POSITIVE_INFINITY) this.deadlines.set(waiter, nowMs + waitMs);
    return waiter;
  }

  /** Takes a waiter out of its queue; it is never granted afterwards (Q3). */
  dequeue(waiter: Waiter): void {
    waiter.lock.remove(waiter);
    waiter.session?.waiters.delete(waiter.id);
    if (waiter.caller !== null) waiter.caller.waiter = null;
    this.deadlines.delete(waiter);
    this.#forgetIdle(waiter.lock);
  }

  /** Grants a lock that nobody holds. The one place where a token is made. */
  grant(lock: Lock, to: Requester, terms: HoldTerms, nowMs: number, out: Effects): Hold {
    const token = this.#takeToken(out);
    const detached = terms.detachedMs !== null;
    const from = { owner: to.owner, client: to.session?.client ?? null, id: to.id };
    const hold = new Hold(token, lock, detached ? null : to.session, from, terms.metadata, nowMs);
    hold.minUntilMs = terms.minHoldMs === 0 ? 0 : nowMs + terms.minHoldMs;
    hold.maxUntilMs = terms.maxHoldMs === null ? null : nowMs + terms.maxHoldMs;
    if (to.session !== null) hold.seenOn = to.session.connection;
    if (to.caller !== null) {
      hold.caller = to.caller;
      to.caller.hold = hold;
    }
    if (detached) this.findByRequest(hold);
    this.insert(hold);
    if (detached) this.keepUntil(hold, nowMs + terms.detachedMs!, out);
    else {
      if (hold.maxUntilMs !== null) this.deadlines.set(hold, hold.maxUntilMs);
      if (this.#writesSessionHolds) this.write(hold, out);
    }
    return hold;
  }

  /** Puts a hold where it belongs, at a grant and when one is restored. */
  insert(hold: Hold): void {
    this.holds.set(hold.token, hold);
    if (hold.session === null) this.detachedCount++;
    hold.lock.hold = hold;
    hold.session?.addHold(hold);
  }

  /** From now on the request that made it finds it. */
  findByRequest(hold: Hold): void {
    if (hold.client === null) return;
    hold.isByRequest = true;
    this.requests.set(requestKey(hold.client, hold.requestId), hold);
  }

  /** Makes a hold durable with an end of its own (L9). */
  keepUntil(hold: Hold, expiresAtMs: number, out: Effects): void {
    this.deadlines.set(hold, expiresAtMs);
    this.write(hold, out);
  }

  /** What remains of a hold that is over: its lock stays closed until then, for everybody (L7, L8). */
  keepClosed(hold: Hold, untilMs: number, out: Effects): void {
    if (hold.session !== null) {
      if (hold.isByRequest) this.#forgetRequest(hold);
      hold.session.removeHold(hold);
      hold.session = null;
      this.detachedCount++;
    }
    hold.remainder = true;
    this.keepUntil(hold, untilMs, out);
  }

  write(hold: Hold, out: Effects): void {
    hold.durable = true;
    out.changes.push({ type: "hold", id: String(hold.token), value: holdRecord(hold) });
  }

  /** Ends a hold. The lock is free afterwards; `grantNext` gives it on. */
  free(hold: Hold, nowMs: number, out: Effects): void {
    this.holds.delete(hold.token);
    this.deadlines.delete(hold);
    hold.lock.hold = null;
    if (hold.caller !== null) hold.caller.hold = null;
    if (hold.durable) out.changes.push({ type: "hold", id: String(hold.token), value: null });
    if (hold.session === null) {
      this.detachedCount--;
      if (hold.isByRequest) this.#keepGrant(hold, nowMs, out);
    } else {
      hold.session.removeHold(hold);
      if (hold.isByRequest) this.#forgetRequest(hold);
    }
  }

  /** What the request of a detached hold is answered from now on, if it comes again (Q6). */
  #keepGrant(hold: Hold, nowMs: number, out: Effects): void {
    const { client, requestId: id, token, endedBy, lock } = hold;
    const message = endedBy === "force" ? forcedMessage(id) : grantedMessage(id, token);
    this.keepAnswer(requestKey(client!, id), message, lock.name, nowMs, out);
  }

  /** A session's hold ends with what its session knows of it: nothing has to outlive both. */
  #forgetRequest(hold: Hold): void {
    hold.isByRequest = false;
    this.requests.delete(requestKey(hold.client!, hold.requestId));
  }

  /** Keeps a durable answer for a minute more: the same request gets it again, after a crash too (Q6). */
  keepAnswer(request: string, message: ServerMessage, about: string, nowMs: number, out: Effects): void {
    const untilMs = nowMs + ANSWER_KEPT_MS;
    this.restoreAnswer(request, message, about, untilMs);
    out.changes.push({ type: "answer", id: request, value: { message, about, untilMs } });
  }

  restoreAnswer(request: string, message: ServerMessage, about: string, untilMs: number): void {
    const kept: KeptAnswer = { kind: "answer", request, message, about, dueMs: 0, heapIndex: -1 };
    this.keptCount++;
    this.requests.set(request, kept);
    this.deadlines.set(kept, untilMs);
  }

  /** The minute is over. */
  forgetAnswer(kept: KeptAnswer, out: Effects): void {
    this.keptCount--;
    if (this.requests.get(kept.request) === kept) this.requests.delete(kept.request);
    out.changes.push({ type: "answer", id: kept.request, value: null });
  }

  /** The next waiter, taken out of the queue, when the lock is free; or null. */
  takeNext(lock: Lock): Waiter | null {
    const waiter = this.granting && lock.hold === null ? lock.first : null;
    if (waiter === null) {
      this.#forgetIdle(lock);
      return null;
    }
    lock.remove(waiter);
    waiter.session?.waiters.delete(waiter.id);
    if (waiter.caller !== null) waiter.caller.waiter = null;
    this.deadlines.delete(waiter);
    return waiter;
  }

  // A lock that nobody holds or wants takes no memory. Its next holder's token still outranks a late write of the
  // last one, since tokens are the service's and not the lock's (F1).
  #forgetIdle(lock: Lock): void {
    if (lock.hold === null && lock.waiterCount === 0) this.locks.delete(lock.name);
  }

  #takeToken(out: Effects): number {
    const token = this.#tokenNext++;
    if (token >= this.#tokenCeiling) this.#raise(out);
    return token;
  }

  #takeTicket(out: Effects): number {
    const ticket = this.#ticketNext++;
    if (ticket >= this.#ticketCeiling) this.#raise(out);
    return ticket;
  }

  #raise(out: Effects): void {
    this.#tokenCeiling = this.#tokenNext + BLOCK;
    this.#ticketCeiling = this.#ticketNext + BLOCK;
    const value = { tokens: this.#tokenCeiling, tickets: this.#ticketCeiling };
    out.changes.push({ type: "ceiling", id: "", value });
  }
}

/** A hold as it is written down. */
export function holdRecord(hold: Hold): HoldRecord {
  const { session, endedBy, minUntilMs, maxUntilMs } = hold;
  return {
    name: hold.lock.name,
    owner: hold.owner,
    grantedAtMs: hold.grantedAtMs,
    expiresAtMs: session === null ? hold.dueMs : null,
    metadata: hold.metadata,
    request: hold.client === null ? null : requestKey(hold.client, hold.requestId),
    remainder: hold.remainder,
    ...(endedBy === null ? {} : { endedBy }),
    ...(minUntilMs > 0 ? { minUntilMs } : {}),
    ...(maxUntilMs === null ? {} : { maxUntilMs }),
    ...(session === null ? {} : { session: session.id }),
  };
}
