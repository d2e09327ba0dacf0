import { ANSWER_KEPT_MS, ChurnMap, type LockNames, type ServerMessage } from "lockdb/protocol";
import { Arrivals } from "./arrivals.js";
import type { About, DurableChange, Effects, HoldRecord } from "./commands.js";
import { Deadlines } from "./deadlines.js";
import { Holds } from "./holds.js";
import type { Grip } from "./lock.js";
import { Locks } from "./locks.js";
import { namesOf, type Want, wantsOf } from "./modes.js";
import type { Place } from "./queue.js";
import { forcedMessage, grantedMessage } from "./replies.js";
import {
  type Caller,
  type DeadlockCheck,
  type Ending,
  Hold,
  type HoldTerms,
  type KeptAnswer,
  type LockAndMode,
  type Session,
  Waiter,
} from "./state.js";
import { Tally, type Totals } from "./totals.js";

/** How many tokens and tickets are reserved at a time (F2). */
const BLOCK = 100_000;

/** Who a grant or a place in a queue is for. Exactly one of `session` and `caller` is set. */
export interface Requester {
  readonly session: Session | null;
  readonly caller: Caller | null;
  readonly id: number;
  readonly owner: string;
  /** Of the session; null for a caller without one. */
  readonly client: string | null;
}

/** A request's name over all sessions of its client, and over crashes. */
export function requestKey(client: string, id: number): string {
  return `${client}/${id}`;
}

/** Locks, holds and queues of one service: who has what, who is next, and the numbers they get. */
export class LockTable {
  readonly holds = new Holds();
  readonly locks = new Locks(this.holds);
  readonly deadlines = new Deadlines<Ending>();
  /** Requests by `client/id`: the hold one has made, or the answer that is kept after it (Q6). */
  readonly #requests = new ChurnMap<string, Hold | KeptAnswer>();
  /** Where the ends of holds are to be told. Few have such a place, so it is no field of theirs (C5). */
  readonly webhooks = new ChurnMap<Hold, string>();
  /** Waiting requests that are made inside holds (D1). */
  readonly nested = new Set<Waiter>();
  /** When they are to be looked at again, since there was too much for one step. */
  readonly deadlockCheck: DeadlockCheck = { kind: "deadlocks", dueMs: 0, heapIndex: -1 };
  /** False while the service recovers: nothing is granted (R4). */
  granting = true;
  /** Holds that belong to no session, packed or not. */
  detachedCount = 0;
  /** Durable answers that are kept. */
  keptCount = 0;
  /** Requests that wait, each once. */
  waiterCount = 0;
  readonly arrivals = new Arrivals();
  readonly totals: Totals;
  /** What has happened in this service alone. */
  readonly tally = new Tally();
  readonly #writesSessionHolds: boolean;
  #tokenNext = 1;
  /** The first that this process could give out. */
  #tokenFirst = 1;
  #tokenCeiling = 1;
  #ticketNext = 1;
  #ticketCeiling = 1;

  constructor(writesSessionHolds: boolean, totals: Totals) {
    this.totals = totals;
    this.#writesSessionHolds = writesSessionHolds;
  }

  /** The next token and ticket: above all that were ever given out. */
  get ceilings(): { readonly tokens: number; readonly tickets: number } {
    return { tokens: this.#tokenNext, tickets: this.#ticketNext };
  }

  /** Grants since it came to be in memory: each took one token. */
  get grantCount(): number {
    return this.#tokenNext - this.#tokenFirst;
  }

  /** Starts above a ceiling that was made durable before (F1), the highest that it is told of. */
  startAbove(tokens: number, tickets: number): void {
    this.#tokenNext = this.#tokenCeiling = Math.max(this.#tokenNext, tokens);
    this.#tokenFirst = this.#tokenNext;
    this.#ticketNext = this.#ticketCeiling = Math.max(this.#ticketNext, tickets);
  }

  /** The locks of a request, made where there are none: they are forgotten again unless something is put there. */
  locksFor(names: LockNames, isRestored = false): readonly LockAndMode[] {
    return wantsOf(names).map(({ name, mode }) => ({ lock: this.locks.make(name, isRestored), mode }));
  }

  forgetIdle(wanted: readonly LockAndMode[]): void {
    for (const { lock } of wanted) this.locks.forgetIdle(lock);
  }

  /** True when a request would be granted at once: nobody who has or wants one of its locks is in its way. */
  isFree(wanted: readonly LockAndMode[]): boolean {
    if (!this.granting) return false;
    for (const { lock, mode } of wanted) {
      if (!lock.isIdle && !lock.hasRoomFor(mode)) return false;
    }
    return true;
  }

  enqueue(
    wanted: readonly LockAndMode[],
    from: Requester,
    terms: HoldTerms,
    waitMs: number,
    ticket: number | null,
    nowMs: number,
    out: Effects,
  ): Waiter {
    const waiter = new Waiter(ticket ?? this.#takeTicket(out), wanted, from, from.owner, terms, nowMs);
    // What a session says before its `sync` counts from then on, all at once.
    for (let place: Place | null = waiter; place !== null; place = place.nextOfWaiter) {
      place.lock.add(place, from.session?.syncing === true);
    }
    if (terms.within.length > 0) {
      this.nested.add(waiter);
      this.#findOuter(waiter);
    }
    from.session?.waiters.set(from.id, waiter);
    if (from.session !== null) waiter.seenOn = from.session.connection;
    if (from.caller !== null) from.caller.waiter = waiter;
    this.waiterCount++;
    this.totals.queued++;
    this.tally.queued++;
    this.arrivals.add(waiter);
    if (waitMs !== Number.POSITIVE_INFINITY) this.deadlines.set(waiter, nowMs + waitMs);
    return waiter;
  }

  /** Takes a waiter out of its queues, which may be idle then. */
  dequeue(waiter: Waiter): void {
    this.waiterCount--;
    this.arrivals.remove(waiter);
    for (let place: Place | null = waiter; place !== null; place = place.nextOfWaiter)
      place.lock.remove(place);
    for (const hold of waiter.outer) hold.nested!.delete(waiter);
    this.nested.delete(waiter);
    waiter.session?.waiters.delete(waiter.id);
    if (waiter.caller !== null) waiter.caller.waiter = null;
    this.deadlines.delete(waiter);
  }

  /** Undefined for tokens that nobody holds. */
  holdsOf(tokens: readonly number[]): readonly (Hold | undefined)[] {
    return tokens.map((token) => this.holds.get(token));
  }

  /** The holds that waiting requests are made inside of: more of them may be known by now. */
  findOuter(): void {
    for (const waiter of this.nested) this.#findOuter(waiter);
  }

  #findOuter(waiter: Waiter): void {
    waiter.outer = this.holdsOf(waiter.terms.within).filter((hold) => hold !== undefined);
    for (const hold of waiter.outer) {
      hold.nested ??= new Set();
      hold.nested.add(waiter);
    }
  }

  /** Grants locks that have room for it. The one place where a token is made. */
  grant(wanted: readonly LockAndMode[], to: Requester, terms: HoldTerms, nowMs: number, out: Effects): Hold {
    const token = this.#takeToken(out);
    const detached = terms.detachedMs !== null;
    const call = to.caller?.call ?? null;
    const session = to.session ?? call?.session ?? null;
    const hold = new Hold(token, wanted, detached ? null : session, to, terms, nowMs);
    if (terms.minHoldMs > 0) hold.minUntilMs = nowMs + terms.minHoldMs;
    if (terms.maxHoldMs !== null) hold.maxUntilMs = nowMs + terms.maxHoldMs;
    if (to.session !== null) hold.seenOn = to.session.connection;
    if (to.caller !== null) {
      hold.caller = to.caller;
      to.caller.hold = hold;
    }
    if (detached || call !== null) this.findByRequest(hold, out);
    if (detached && call !== null) hold.leaseMs = terms.detachedMs;
    if (detached && terms.webhookUrl !== undefined) this.webhooks.set(hold, terms.webhookUrl);
    this.insert(hold);
    if (detached) this.keepUntil(hold, nowMs + terms.detachedMs!, out);
    else {
      if (hold.maxUntilMs !== null) this.deadlines.set(hold, hold.maxUntilMs);
      if (this.#writesSessionHolds || session!.isHttp) this.write(hold, out);
    }
    return hold;
  }

  /** Puts a hold where it belongs, at a grant and when one is restored. */
  insert(hold: Hold): void {
    this.holds.set(hold.token, hold);
    if (hold.session === null) this.detachedCount++;
    for (let grip: Grip | null = hold; grip !== null; grip = grip.nextOfHold) grip.lock.attach(grip);
    hold.session?.addHold(hold);
  }

  /** What a request, as `client/id`, has made: a hold, or an answer that is kept after it (Q6). */
  madeBy(request: string): Hold | KeptAnswer | undefined {
    const made = this.#requests.get(request);
    const { packed } = this.holds;
    if (made !== undefined || packed === null) return made;
    return packed.unpackByRequest(request) ? this.#requests.get(request) : undefined;
  }

  /** When something ends next; Infinity when nothing does. */
  get nextDueMs(): number {
    const { nextMs } = this.deadlines;
    const { packed } = this.holds;
    return packed === null ? nextMs : Math.min(nextMs, packed.nextMs);
  }

  /** Takes out what has ended, the earliest first; undefined when nothing has. */
  takeDue(nowMs: number): Ending | undefined {
    const { holds, deadlines } = this;
    while (holds.packed !== null && holds.packed.nextMs <= Math.min(nowMs, deadlines.nextMs))
      holds.packed.unpackFirst();
    return this.deadlines.takeDue(nowMs);
  }

  /**
   * From now on the request that made it finds it. That there is a durable answer under the same id already is a mistake of the client: it is forgotten,
   * and at a start, where nothing is written for it, the hold is not found.
   * @param out null at a start
   */
  findByRequest(hold: Hold, out: Effects | null): void {
    if (hold.client === null) return;
    const request = requestKey(hold.client, hold.requestId);
    if (out !== null) this.#forgetAnswerOf(request, out);
    else if (this.#requests.get(request)?.kind === "answer") return;
    hold.isByRequest = true;
    this.#requests.set(request, hold);
  }

  /** Makes a hold durable with an end of its own (L9). */
  keepUntil(hold: Hold, expiresAtMs: number, out: Effects): void {
    this.deadlines.set(hold, expiresAtMs);
    hold.writtenUntilMs = expiresAtMs;
    this.write(hold, out);
  }

  /**
   * Moves the end of a leased hold. Beyond what is written it is written, with one lease more: the next renewals need no
   * flush, and after a crash what was told still holds.
   */
  renew(hold: Hold, leaseMs: number, nowMs: number, out: Effects): void {
    const latestMs = hold.maxUntilMs ?? Number.POSITIVE_INFINITY;
    const expiresAtMs = Math.min(nowMs + leaseMs, latestMs);
    // What is written is at most one lease later than this: of a shorter one it would be more (R6).
    const isWritten = leaseMs === hold.leaseMs && expiresAtMs <= hold.writtenUntilMs;
    hold.leaseMs = leaseMs;
    this.deadlines.set(hold, expiresAtMs);
    if (isWritten) return;
    hold.writtenUntilMs = Math.min(expiresAtMs + leaseMs, latestMs);
    this.write(hold, out);
  }

  /** What remains of a hold that is over: it keeps others from its locks until then, as the hold did (L7, L8). */
  keepClosed(hold: Hold, untilMs: number, out: Effects): void {
    if (hold.session !== null) {
      if (hold.isByRequest && !hold.session.isHttp) this.forgetRequest(hold);
      hold.session.removeHold(hold);
      hold.session = null;
      this.detachedCount++;
    }
    if (hold.nested !== null) leaveInside(hold, hold.nested);
    hold.remainder = true;
    this.keepUntil(hold, untilMs, out);
  }

  write(hold: Hold, out: Effects): void {
    const isNew = !hold.durable;
    hold.durable = true;
    out.changes.push(this.changeOf(hold, isNew));
  }

  /** A hold with all that is to be known of it after a start. */
  changeOf(hold: Hold, isNew = false): DurableChange {
    const webhookUrl = this.webhooks.get(hold);
    const value = webhookUrl === undefined ? holdRecord(hold) : { ...holdRecord(hold), webhookUrl };
    return { type: "hold", id: String(hold.token), value, isNew };
  }

  /** Ends a hold. Its locks have room afterwards; `serve` gives them on. */
  free(hold: Hold, nowMs: number, out: Effects): void {
    this.holds.delete(hold.token);
    this.deadlines.delete(hold);
    for (let grip: Grip | null = hold; grip !== null; grip = grip.nextOfHold) grip.lock.detach(grip);
    if (hold.nested !== null) leaveInside(hold, hold.nested);
    if (hold.caller !== null) hold.caller.hold = null;
    this.webhooks.delete(hold);
    if (hold.durable) out.changes.push({ type: "hold", id: String(hold.token), value: null });
    const { session } = hold;
    if (session === null) this.detachedCount--;
    else session.removeHold(hold);
    if (!hold.isByRequest) return;
    if (session === null || session.isHttp) this.#keepGrant(hold, nowMs, out);
    else this.forgetRequest(hold);
  }

  /** What the request of a detached hold is answered from now on, if it comes again (Q6). */
  #keepGrant(hold: Hold, nowMs: number, out: Effects): void {
    const { client, requestId: id, token, endedBy } = hold;
    const message = endedBy === "force" ? forcedMessage(id) : grantedMessage(id, token);
    this.keepAnswer(requestKey(client!, id), message, aboutHold(hold), nowMs, out);
  }

  /** A session's hold ends with what its session knows of it: nothing has to outlive both. */
  forgetRequest(hold: Hold): void {
    hold.isByRequest = false;
    const request = requestKey(hold.client!, hold.requestId);
    if (this.#requests.get(request) === hold) this.#requests.delete(request);
  }

  /** Keeps a durable answer for a minute more: the same request gets it again, after a crash too (Q6). */
  keepAnswer(request: string, message: ServerMessage, about: About, nowMs: number, out: Effects): void {
    const untilMs = nowMs + ANSWER_KEPT_MS;
    // What is in the store is found by its request, so what is not found is new.
    this.#forgetAnswerOf(request, out);
    this.restoreAnswer(request, message, about, untilMs);
    out.changes.push({ type: "answer", id: request, value: { message, about, untilMs }, isNew: true });
  }

  #forgetAnswerOf(request: string, out: Effects): void {
    const kept = this.#requests.get(request);
    if (kept?.kind !== "answer") return;
    this.deadlines.delete(kept);
    this.forgetAnswer(kept, out);
  }

  restoreAnswer(request: string, message: ServerMessage, about: About, untilMs: number): void {
    const kept: KeptAnswer = { kind: "answer", request, message, about, dueMs: 0, heapIndex: -1 };
    this.keptCount++;
    this.#requests.set(request, kept);
    this.deadlines.set(kept, untilMs);
  }

  /** The minute is over. */
  forgetAnswer(kept: KeptAnswer, out: Effects): void {
    this.keptCount--;
    this.#requests.delete(kept.request);
    out.changes.push({ type: "answer", id: kept.request, value: null });
  }

  /** The client has its answer, and will not ask again: nothing of the request has to outlive a crash any more (Q6). */
  acknowledged({ client }: Session, id: number, answer: ServerMessage | null, out: Effects): void {
    if (this.detachedCount > 0 && answer?.[0] === "granted") {
      const hold = this.holds.get(answer[2]);
      // As long as it is there, there is no answer that is kept in its place.
      if (hold?.isByRequest) return this.forgetRequest(hold);
    }
    if (this.keptCount > 0) this.#forgetAnswerOf(requestKey(client, id), out);
  }

  #takeToken(out: Effects): number {
    const token = this.#tokenNext++;
    if (token >= this.#tokenCeiling) this.reserve(out);
    return token;
  }

  #takeTicket(out: Effects): number {
    const ticket = this.#ticketNext++;
    if (ticket >= this.#ticketCeiling) this.reserve(out);
    return ticket;
  }

  /** Makes a block of numbers durable ahead, so that whoever is next waits for nothing (F2). */
  reserve(out: Effects): void {
    this.#tokenCeiling = this.#tokenNext + BLOCK;
    this.#ticketCeiling = this.#ticketNext + BLOCK;
    const value = { tokens: this.#tokenCeiling, tickets: this.#ticketCeiling };
    out.changes.push({ type: "ceiling", id: "", value });
  }
}

/** A hold is over: what was asked inside it goes on by itself. */
function leaveInside(hold: Hold, nested: ReadonlySet<Waiter>): void {
  for (const waiter of nested) waiter.outer = waiter.outer.filter((outer) => outer !== hold);
  hold.nested = null;
}

/** What a request for locks is about: an id that comes again for something else is refused (Q6). */
export function aboutNames(names: LockNames): string {
  return aboutWants(wantsOf(names));
}

export function aboutHold({ grips }: Hold): string {
  return aboutWants(wantsIn(grips));
}

export function aboutWaiter(waiter: Waiter): string {
  return aboutWants(wantsIn(waiter.places));
}

/** The wants that grips or places stand for. */
export function wantsIn(parts: readonly LockAndMode[]): readonly Want[] {
  return parts.map(({ lock, mode }) => ({ name: lock.name, mode }));
}

function aboutWants(wants: readonly Want[]): string {
  // One lock may be asked for in several ways.
  const same = namesOf(wants);
  // No name begins so.
  return typeof same === "string" ? same : `\n${JSON.stringify(same)}`;
}

/** A hold as it is written down, but for its webhook. */
function holdRecord(hold: Hold): HoldRecord {
  const { session, endedBy, minUntilMs, maxUntilMs } = hold;
  return {
    names: namesOf(wantsIn(hold.grips)),
    owner: hold.owner,
    grantedAtMs: hold.grantedAtMs,
    expiresAtMs: session === null ? hold.writtenUntilMs : null,
    metadata: hold.metadata,
    ...(hold.leads ? { leads: true } : {}),
    ...(hold.leaseMs === null ? {} : { leaseMs: hold.leaseMs }),
    request: hold.client === null ? null : requestKey(hold.client, hold.requestId),
    remainder: hold.remainder,
    ...(endedBy === null ? {} : { endedBy }),
    ...(minUntilMs > 0 ? { minUntilMs } : {}),
    ...(maxUntilMs === null ? {} : { maxUntilMs }),
    ...(session === null ? {} : { session: session.id }),
  };
}
