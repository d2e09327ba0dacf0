import type { EndedBy, Metadata, ServerMessage } from "lockdb/protocol";
import type { NamedCommand } from "./commands.js";
import type { Timed } from "./deadlines.js";

/** One client instance's life here. Its deadline in the heap may lag behind `expiresAtMs`: renewing costs no move. */
export class Session implements Timed {
  readonly kind = "session";
  readonly id: string;
  readonly client: string;
  readonly leaseMs: number;
  readonly owner: string;
  dueMs = 0;
  heapIndex = -1;
  expiresAtMs = 0;
  /** Where it is reached; null while its connection is down. */
  address: string | null = null;
  connection = 0;
  /** Between `hello` and `sync`: the client is still saying what it has. */
  syncing = false;
  /** On the list of an unclean start, and not back yet (R4). */
  awaited = false;
  /** Awaited, and nothing is known of what it holds: nothing is granted meanwhile (R4). */
  mayHold = false;
  /** Its record says that all its holds are in the store. */
  holdsKnown = false;
  /** Known from before this start: tickets it names are believed until its first `sync`. */
  restored = false;
  idMax = 0;
  holdCount = 0;
  firstHold: Hold | null = null;
  /** Tokens of its holds that were freed by force, and the connection on which it last spoke of each (R3). Rare. */
  revoked: Map<number, number> | null = null;
  readonly waiters = new Map<number, Waiter>();
  answers = new Map<number, StoredAnswer>();
  /** Answers from before the present `hello`, until `sync` says which of them still matter. */
  answersBefore: Map<number, StoredAnswer> | null = null;

  constructor(id: string, client: string, leaseMs: number, owner: string) {
    this.id = id;
    this.client = client;
    this.leaseMs = leaseMs;
    this.owner = owner;
  }

  /** A copy: holds may end while it is walked. */
  holds(): readonly Hold[] {
    const holds: Hold[] = [];
    for (let hold = this.firstHold; hold !== null; hold = hold.nextOfSession) holds.push(hold);
    return holds;
  }

  addHold(hold: Hold): void {
    hold.nextOfSession = this.firstHold;
    if (this.firstHold !== null) this.firstHold.previousOfSession = hold;
    this.firstHold = hold;
    this.holdCount++;
  }

  removeHold(hold: Hold): void {
    if (hold.previousOfSession === null) this.firstHold = hold.nextOfSession;
    else hold.previousOfSession.nextOfSession = hold.nextOfSession;
    if (hold.nextOfSession !== null) hold.nextOfSession.previousOfSession = hold.previousOfSession;
    hold.previousOfSession = null;
    hold.nextOfSession = null;
    this.holdCount--;
  }
}

/** Whatever has an end on the lease clock. */
export type Ending = Session | Hold | Waiter | Pending | KeptAnswer | EndedSession;

/** One HTTP request that waits, or was granted and not handed over yet. */
export interface Caller {
  readonly address: string;
  waiter: Waiter | null;
  hold: Hold | null;
}

/** A named lock. It exists only while it is held or waited for. */
export class Lock {
  readonly name: string;
  hold: Hold | null = null;
  /** The queue, in ticket order: all waiters who could be granted now. */
  first: Waiter | null = null;
  last: Waiter | null = null;
  /** Waiters whose sessions cannot be reached: they keep their tickets, and are passed over (Q7). */
  readonly away = new AwayWaiters();
  /** All waiters, away or not. */
  waiterCount = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Adds a waiter with the highest ticket of all, at the end, or to those who are away. */
  add(waiter: Waiter, isAway: boolean): void {
    this.waiterCount++;
    if (isAway) this.away.add(waiter);
    else this.#insert(waiter, null);
  }

  remove(waiter: Waiter): void {
    this.waiterCount--;
    if (waiter.isQueued) this.#unlink(waiter);
    else this.away.delete(waiter);
  }

  /** Its session cannot be reached any more. */
  leave(waiter: Waiter): void {
    if (!waiter.isQueued) return;
    this.#unlink(waiter);
    this.away.add(waiter);
  }

  /** Waiters of one session, in ticket order, are back: one walk along the queue, however many they are. */
  comeBack(waiters: readonly Waiter[]): void {
    let next = this.first;
    for (const waiter of waiters) {
      this.away.delete(waiter);
      while (next !== null && next.ticket < waiter.ticket) next = next.next;
      this.#insert(waiter, next);
    }
  }

  /** The first waiters in ticket order, also those who are away. */
  firstWaiters(max: number): readonly Waiter[] {
    const waiters: Waiter[] = [];
    for (let waiter = this.first; waiter !== null && waiters.length < max; waiter = waiter.next) {
      waiters.push(waiter);
    }
    waiters.push(...this.away.first(max));
    return waiters.sort((a, b) => a.ticket - b.ticket).slice(0, max);
  }

  #insert(waiter: Waiter, next: Waiter | null): void {
    const previous = next === null ? this.last : next.previous;
    waiter.isQueued = true;
    waiter.previous = previous;
    waiter.next = next;
    if (previous === null) this.first = waiter;
    else previous.next = waiter;
    if (next === null) this.last = waiter;
    else next.previous = waiter;
  }

  #unlink(waiter: Waiter): void {
    const { previous, next } = waiter;
    waiter.isQueued = false;
    waiter.previous = null;
    waiter.next = null;
    if (previous === null) this.first = next;
    else previous.next = next;
    if (next === null) this.last = previous;
    else next.previous = previous;
  }
}

/** Waiters of one lock whose sessions are away. Most locks have none, so the set is made when it is needed. */
class AwayWaiters {
  #set: Set<Waiter> | null = null;

  add(waiter: Waiter): void {
    this.#set ??= new Set();
    this.#set.add(waiter);
  }

  delete(waiter: Waiter): void {
    this.#set?.delete(waiter);
  }

  /** Those with the lowest tickets. */
  first(max: number): readonly Waiter[] {
    if (this.#set === null) return [];
    const tickets = Float64Array.from(this.#set, (waiter) => waiter.ticket).sort();
    const highest = tickets[Math.min(max, tickets.length) - 1] ?? 0;
    return [...this.#set].filter((waiter) => waiter.ticket <= highest);
  }
}

/** A granted lock. `session: null` is a detached hold, which has only an end. */
export class Hold implements Timed {
  readonly kind = "hold";
  readonly token: number;
  readonly lock: Lock;
  readonly owner: string;
  readonly metadata: Metadata;
  readonly grantedAtMs: number;
  /** Which request was granted, and whose it was: the client's, or null for a caller without one. */
  readonly requestId: number;
  readonly client: string | null;
  session: Session | null;
  dueMs = 0;
  heapIndex = -1;
  /** Kept at least until then, also after an early release (L7). */
  minUntilMs = 0;
  /** Ended then at the latest (L7); null for no such end. */
  maxUntilMs: number | null = null;
  /** In the store. A hold without a session always is. */
  durable = false;
  /** It is over, and its lock stays closed for a while (L7, L8). */
  remainder = false;
  /** How it ended, when it was not by its holder's wish. */
  endedBy: EndedBy | null = null;
  /** It is found by its request, so that the same request gets the same token after a crash too (Q6). */
  isByRequest = false;
  /** The connection on which the session last showed that it knows of this hold. */
  seenOn = 0;
  caller: Caller | null = null;
  previousOfSession: Hold | null = null;
  nextOfSession: Hold | null = null;

  constructor(
    token: number,
    lock: Lock,
    session: Session | null,
    from: { readonly owner: string; readonly client: string | null; readonly id: number },
    metadata: Metadata,
    nowMs: number,
  ) {
    this.token = token;
    this.lock = lock;
    this.session = session;
    this.owner = from.owner;
    this.client = from.client;
    this.requestId = from.id;
    this.metadata = metadata;
    this.grantedAtMs = nowMs;
  }
}

/** A request in a lock's queue. */
export class Waiter implements Timed {
  readonly kind = "waiter";
  readonly ticket: number;
  readonly lock: Lock;
  readonly session: Session | null;
  readonly caller: Caller | null;
  readonly id: number;
  readonly owner: string;
  readonly since: number;
  readonly terms: HoldTerms;
  dueMs = 0;
  heapIndex = -1;
  /** The connection on which its session last spoke of it. */
  seenOn = 0;
  /** In the lock's queue; else its session is away. */
  isQueued = false;
  previous: Waiter | null = null;
  next: Waiter | null = null;

  constructor(
    ticket: number,
    lock: Lock,
    from: { readonly session: Session | null; readonly caller: Caller | null; readonly id: number },
    owner: string,
    terms: HoldTerms,
    nowMs: number,
  ) {
    this.ticket = ticket;
    this.lock = lock;
    this.session = from.session;
    this.caller = from.caller;
    this.id = from.id;
    this.owner = owner;
    this.terms = terms;
    this.since = nowMs;
  }
}

/** What a request asks of the hold it wants. */
export interface HoldTerms {
  readonly detachedMs: number | null;
  readonly minHoldMs: number;
  readonly maxHoldMs: number | null;
  readonly metadata: Metadata;
}

/** A `check` or `unlock` that waits for the end of recovery (R4). */
export interface Pending extends Timed {
  readonly kind: "pending";
  readonly command: NamedCommand;
}

/** A durable answer that is kept for a while (Q6). */
export interface KeptAnswer extends Timed {
  readonly kind: "answer";
  readonly request: string;
  readonly message: ServerMessage;
  readonly about: string;
}

/** A session that is over, for as long as an old `hello` of it may still be on its way. */
export interface EndedSession extends Timed {
  readonly kind: "ended";
  readonly id: string;
}

/** An answer to a session's request, until the client acknowledges it or a minute has passed. */
export interface StoredAnswer {
  /** Null while there is none: the request waits for the end of recovery. */
  readonly message: ServerMessage | null;
  readonly about: string;
  readonly atMs: number;
}
