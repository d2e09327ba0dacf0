import { ChurnMap, type EndedBy, type Metadata, NumberMap, type ServerMessage } from "lockdb/protocol";
import type { About, NamedCommand } from "./commands.js";
import type { Timed } from "./deadlines.js";
import type { Listing } from "./listings.js";
import { Grip, type Lock } from "./lock.js";
import type { Mode } from "./modes.js";
import { Place } from "./queue.js";

/** One client instance's life here. Its deadline in the heap may lag behind `expiresAtMs`: renewing costs no move. */
export class Session implements Timed {
  readonly kind = "session";
  readonly id: string;
  readonly client: string;
  readonly leaseMs: number;
  readonly owner: string;
  /** Its place in the order in which sessions came. */
  number = 0;
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
  /** It may look, and hold nothing. */
  reads = false;
  /** It has no connection and is kept by heartbeats over HTTP; its holds are always in the store. */
  readonly isHttp: boolean;
  /** Those of its calls that wait, or whose refusal nobody has heard. Only an HTTP session has calls. */
  calls: Set<Call> | null = null;
  /** Known from before this start: tickets it names are believed until its first `sync`. */
  restored = false;
  idMax = 0;
  holdCount = 0;
  firstHold: Hold | null = null;
  /** Tokens of its holds that were freed by force, and the connection on which it last spoke of each (R3). Rare. */
  revoked: Map<number, number> | null = null;
  readonly waiters = new ChurnMap<number, Waiter>();
  answers = new NumberMap<StoredAnswer>();
  /** No answer is old enough to be forgotten before. */
  sweepAtMs = 0;
  /** Answers from before the present `hello`, until `sync` says which of them still matter. */
  answersBefore: Map<number, StoredAnswer> | null = null;

  constructor(id: string, client: string, leaseMs: number, owner: string, isHttp = false) {
    this.isHttp = isHttp;
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
export type Ending =
  | Session
  | Hold
  | Waiter
  | Pending
  | KeptAnswer
  | EndedSession
  | Listing
  | DeadlockCheck
  | Call;

/** One request over HTTP that waits, or was granted and not handed over yet. */
export interface Caller {
  waiter: Waiter | null;
  hold: Hold | null;
  /** Null for one of the original routes: it is one HTTP request, and its hold is detached. */
  readonly call: Call | null;
  /** Where its answer goes; null while nobody would hear it. */
  address: string | null;
}

/** A request for locks over the HTTP API. It is known by its `requestId`, over as many HTTP requests as it takes (Q6). */
export class Call implements Caller, Timed {
  readonly kind = "call";
  /** Which one it is: the session, if it has one, and the `requestId`. */
  readonly client: string;
  readonly session: Session | null;
  readonly about: string;
  address: string | null;
  waiter: Waiter | null = null;
  hold: Hold | null = null;
  /** HTTP requests that were told the grant, and of which it is not known yet whether they have heard it. */
  tellings = 1;
  /** A refusal that nobody has heard: it came between two HTTP requests. */
  unheard: ServerMessage | null = null;
  dueMs = 0;
  heapIndex = -1;

  constructor(client: string, session: Session | null, about: string, address: string) {
    this.client = client;
    this.session = session;
    this.about = about;
    this.address = address;
  }

  get call(): this {
    return this;
  }
}

const NO_HOLDS: readonly Hold[] = Object.freeze([]);

/** What few holds have. It stands aside, since there may be a million of the others. */
class RareFacts {
  leads = false;
  askedFor: string | null = null;
  minUntilMs = 0;
  maxUntilMs: number | null = null;
  remainder = false;
  endedBy: EndedBy | null = null;
  isByRequest = false;
  caller: Caller | null = null;
  nested: Set<Waiter> | null = null;
  leaseMs: number | null = null;
  writtenUntilMs: number;

  constructor(writtenUntilMs: number) {
    this.writtenUntilMs = writtenUntilMs;
  }
}

/** A granted lock or set. `session: null` is a detached hold, which has only an end. */
export class Hold extends Grip implements Timed {
  readonly token: number;
  readonly owner: string;
  readonly metadata: Metadata;
  readonly grantedAtMs: number;
  /** Which request was granted, and whose it was: the client's, or null for a caller without one. */
  readonly requestId: number;
  readonly client: string | null;
  session: Session | null;
  dueMs = 0;
  heapIndex = -1;
  /** In the store. A hold without a session always is. */
  durable = false;
  /** The connection on which the session last showed that it knows of this hold. */
  seenOn = 0;
  previousOfSession: Hold | null = null;
  nextOfSession: Hold | null = null;
  #rare: RareFacts | null = null;

  /** @param wanted the locks, at least one, with their modes */
  constructor(
    token: number,
    wanted: readonly LockAndMode[],
    session: Session | null,
    from: { readonly owner: string; readonly client: string | null; readonly id: number },
    facts: { readonly metadata: Metadata; readonly leads: boolean },
    nowMs: number,
  ) {
    super(wanted[0]!.lock, wanted[0]!.mode);
    this.token = token;
    for (let at = wanted.length - 1; at > 0; at--) {
      const grip = new SetGrip(this, wanted[at]!.lock, wanted[at]!.mode);
      grip.nextOfHold = this.nextOfHold;
      this.nextOfHold = grip;
    }
    this.session = session;
    this.owner = from.owner;
    this.client = from.client;
    this.requestId = from.id;
    this.metadata = facts.metadata;
    if (facts.leads) this.#facts.leads = true;
    this.grantedAtMs = nowMs;
  }

  get kind(): "hold" {
    return "hold";
  }

  get hold(): this {
    return this;
  }

  get #facts(): RareFacts {
    this.#rare ??= new RareFacts(this.dueMs);
    return this.#rare;
  }

  /** It is that of a leader (Q9). */
  get leads(): boolean {
    return this.#rare?.leads === true;
  }

  /** Why an operator has asked its holder to give it back; null: nobody has. Forgotten when the server stops. */
  get askedFor(): string | null {
    return this.#rare === null ? null : this.#rare.askedFor;
  }

  set askedFor(reason: string | null) {
    this.#facts.askedFor = reason;
  }

  /** Kept at least until then, also after an early release (L7). */
  get minUntilMs(): number {
    return this.#rare === null ? 0 : this.#rare.minUntilMs;
  }

  set minUntilMs(minUntilMs: number) {
    if (minUntilMs !== this.minUntilMs) this.#facts.minUntilMs = minUntilMs;
  }

  /** Ended then at the latest (L7); null for no such end. */
  get maxUntilMs(): number | null {
    return this.#rare === null ? null : this.#rare.maxUntilMs;
  }

  set maxUntilMs(maxUntilMs: number | null) {
    if (maxUntilMs !== this.maxUntilMs) this.#facts.maxUntilMs = maxUntilMs;
  }

  /** It is over, and its lock stays closed for a while (L7, L8). */
  get remainder(): boolean {
    return this.#rare?.remainder === true;
  }

  set remainder(remainder: boolean) {
    if (remainder !== this.remainder) this.#facts.remainder = remainder;
  }

  /** How it ended, when it was not by its holder's wish. */
  get endedBy(): EndedBy | null {
    return this.#rare === null ? null : this.#rare.endedBy;
  }

  set endedBy(endedBy: EndedBy | null) {
    if (endedBy !== this.endedBy) this.#facts.endedBy = endedBy;
  }

  /** It is found by its request, so that the same request gets the same token after a crash too (Q6). */
  get isByRequest(): boolean {
    return this.#rare?.isByRequest === true;
  }

  set isByRequest(isByRequest: boolean) {
    if (isByRequest !== this.isByRequest) this.#facts.isByRequest = isByRequest;
  }

  /** Of a leased hold: how long it lasts from a renewal on. Null for all others. */
  get leaseMs(): number | null {
    return this.#rare === null ? null : this.#rare.leaseMs;
  }

  set leaseMs(leaseMs: number | null) {
    if (leaseMs !== this.leaseMs) this.#facts.leaseMs = leaseMs;
  }

  /**
   * The end that the store knows, of a hold without a session: renewals before it need not be written. Of those that
   * are never renewed it is their end.
   */
  get writtenUntilMs(): number {
    return this.#rare === null ? this.dueMs : this.#rare.writtenUntilMs;
  }

  set writtenUntilMs(writtenUntilMs: number) {
    if (writtenUntilMs !== this.writtenUntilMs) this.#facts.writtenUntilMs = writtenUntilMs;
  }

  /** The HTTP request that was granted it, until it is handed over. */
  get caller(): Caller | null {
    return this.#rare === null ? null : this.#rare.caller;
  }

  set caller(caller: Caller | null) {
    if (caller !== this.caller) this.#facts.caller = caller;
  }

  /** Requests that are made inside this hold and wait: it cannot end before them (D1). */
  get nested(): Set<Waiter> | null {
    return this.#rare === null ? null : this.#rare.nested;
  }

  set nested(nested: Set<Waiter> | null) {
    if (nested !== this.nested) this.#facts.nested = nested;
  }

  /** All of them; of a set several. */
  get grips(): readonly Grip[] {
    const grips: Grip[] = [];
    for (let grip: Grip | null = this; grip !== null; grip = grip.nextOfHold) grips.push(grip);
    return grips;
  }
}

class SetGrip extends Grip {
  readonly hold: Hold;

  constructor(hold: Hold, lock: Lock, mode: Mode) {
    super(lock, mode);
    this.hold = hold;
  }
}

export interface LockAndMode {
  readonly lock: Lock;
  readonly mode: Mode;
}

/** A request that waits, in the queues of all the locks that it wants. */
export class Waiter extends Place implements Timed {
  readonly kind = "waiter";
  readonly ticket: number;
  readonly session: Session | null;
  readonly caller: Caller | null;
  readonly id: number;
  readonly owner: string;
  readonly since: number;
  readonly terms: HoldTerms;
  /** The holds that it is made inside of, as far as they are known here (D1). */
  outer: readonly Hold[] = NO_HOLDS;
  /** Its neighbours among all who wait in the service: who came before it, and who came later. */
  cameAfter: Waiter | null = null;
  cameBefore: Waiter | null = null;
  dueMs = 0;
  heapIndex = -1;
  /** The connection on which its session last spoke of it. */
  seenOn = 0;

  /** @param wanted the locks, at least one, with their modes */
  constructor(
    ticket: number,
    wanted: readonly LockAndMode[],
    from: { readonly session: Session | null; readonly caller: Caller | null; readonly id: number },
    owner: string,
    terms: HoldTerms,
    nowMs: number,
  ) {
    super(wanted[0]!.lock, wanted[0]!.mode);
    this.ticket = ticket;
    for (let at = wanted.length - 1; at > 0; at--) {
      const place = new SetPlace(this, wanted[at]!.lock, wanted[at]!.mode);
      place.nextOfWaiter = this.nextOfWaiter;
      this.nextOfWaiter = place;
    }
    this.session = from.session;
    this.caller = from.caller;
    this.id = from.id;
    this.owner = owner;
    this.terms = terms;
    this.since = nowMs;
  }

  get waiter(): this {
    return this;
  }

  get client(): string | null {
    return this.session?.client ?? this.caller?.call?.client ?? null;
  }

  /** All of them; of a set several. */
  get places(): readonly Place[] {
    const places: Place[] = [];
    for (let place: Place | null = this; place !== null; place = place.nextOfWaiter) places.push(place);
    return places;
  }
}

class SetPlace extends Place {
  readonly waiter: Waiter;

  constructor(waiter: Waiter, lock: Lock, mode: Mode) {
    super(lock, mode);
    this.waiter = waiter;
  }
}

/** What a request asks of the hold it wants. */
export interface HoldTerms {
  readonly detachedMs: number | null;
  readonly minHoldMs: number;
  readonly maxHoldMs: number | null;
  readonly metadata: Metadata;
  /** It is for a leader (Q9). */
  readonly leads: boolean;
  /** Tokens of the holds that it is made inside of: they cannot end before it is granted (D1). */
  readonly within: readonly number[];
  /** What one of those has already is granted again, as the same hold (D3). */
  readonly reentrant: boolean;
  /** Where the hold's end is to be told (C5). */
  readonly webhookUrl?: string | undefined;
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
  readonly about: About;
}

/** A session that is over, for as long as an old `hello` of it may still be on its way. */
export interface EndedSession extends Timed {
  readonly kind: "ended";
  readonly id: string;
}

/** The rest of a search for deadlocks, at its time. */
export interface DeadlockCheck extends Timed {
  readonly kind: "deadlocks";
}

/** An answer to a session's request, until the client acknowledges it or a minute has passed. */
export interface StoredAnswer {
  /** Null while there is none: the request waits for the end of recovery. */
  readonly message: ServerMessage | null;
  readonly about: About;
  readonly atMs: number;
}
