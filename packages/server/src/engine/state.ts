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
  /** Tokens of its holds that were freed by force, and the connection on which it last spoke of each (R3). */
  readonly revoked = new Map<number, number>();
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
  first: Waiter | null = null;
  last: Waiter | null = null;
  waiterCount = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** In ticket order. New tickets are the highest, so only a waiter that returns has to look for its place. */
  enqueue(waiter: Waiter): void {
    let before = this.last;
    while (before !== null && before.ticket > waiter.ticket) before = before.previous;
    waiter.previous = before;
    waiter.next = before === null ? this.first : before.next;
    if (waiter.next === null) this.last = waiter;
    else waiter.next.previous = waiter;
    if (before === null) this.first = waiter;
    else before.next = waiter;
    this.waiterCount++;
  }

  dequeue(waiter: Waiter): void {
    if (waiter.previous === null) this.first = waiter.next;
    else waiter.previous.next = waiter.next;
    if (waiter.next === null) this.last = waiter.previous;
    else waiter.next.previous = waiter.previous;
    waiter.previous = null;
    waiter.next = null;
    this.waiterCount--;
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
  /** Who asked for a detached hold, as `client/id`; null for HTTP callers of the original routes. */
  request: string | null = null;
  /** The connection on which the session last showed that it knows of this hold. */
  seenOn = 0;
  caller: Caller | null = null;
  previousOfSession: Hold | null = null;
  nextOfSession: Hold | null = null;

  constructor(
    token: number,
    lock: Lock,
    session: Session | null,
    owner: string,
    metadata: Metadata,
    nowMs: number,
  ) {
    this.token = token;
    this.lock = lock;
    this.session = session;
    this.owner = owner;
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
  seenOn = 0;
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

  /** Its connection is down, or back without having spoken of it: it keeps its ticket and is passed over (Q7). */
  get away(): boolean {
    const { session } = this;
    return session !== null && (session.address === null || this.seenOn !== session.connection);
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
