import { NumberMap, WIRE_LIMITS } from "lockdb/protocol";
import { replaceAnswer } from "./answers.js";
import type { Command, DurableChange, Effects, EngineOptions, SessionRecord } from "./commands.js";
import { noteHold } from "./events.js";
import type { Grants } from "./grants.js";
import type { Lock } from "./lock.js";
import { aboutHold, aboutNames } from "./lock-table.js";
import { goTogether } from "./modes.js";
import type { Postponed } from "./postponed.js";
import type { Place } from "./queue.js";
import { ended, forcedMessage, refuse, tell } from "./replies.js";
import { sessionPage } from "./session-list.js";
import { type EndedSession, Hold, Session, type Waiter } from "./state.js";

/** Longer than a connection may take to say hello, whatever the network does to it. */
const ENDED_KEPT_MS = 60_000;

type Of<K extends Command["kind"]> = Extract<Command, { kind: K }>;

/** Sessions: how they open, resume, stay and end, and how the missing ones are waited for after a crash (R3, R4). */
export class Sessions {
  readonly #options: EngineOptions;
  readonly #grants: Grants;
  readonly #postponed: Postponed;
  readonly #onRecovered: (nowMs: number, out: Effects) => void;
  readonly #sessions = new Map<string, Session>();
  /** Sessions that are over: a `hello` that was stuck in the network must not open one of them again. */
  readonly #ended = new Map<string, EndedSession>();
  /** Awaited sessions of whose holds nothing is known. */
  #unknownCount = 0;
  #numberLast = 0;

  constructor(
    options: EngineOptions,
    grants: Grants,
    postponed: Postponed,
    onRecovered: (nowMs: number, out: Effects) => void,
  ) {
    this.#options = options;
    this.#grants = grants;
    this.#postponed = postponed;
    this.#onRecovered = onRecovered;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** True while sessions from before an unclean start may hold what nobody here knows of (R4). */
  get recovering(): boolean {
    return this.#unknownCount > 0;
  }

  get(id: string): Session | undefined {
    return this.#sessions.get(id);
  }

  list({ id, address, after, limit }: Of<"sessions">, nowMs: number, out: Effects): void {
    const page = sessionPage(this.#sessions.values(), after, limit, nowMs);
    out.answers.push({ to: address, message: ["done", id, page] });
  }

  #add(session: Session): void {
    session.number = ++this.#numberLast;
    this.#sessions.set(session.id, session);
  }

  /** The session of a command, renewed by it (L4); null if it is over, or reached elsewhere by now (R3). */
  live(command: { session: string | null; address: string }, nowMs: number): Session | null {
    const session = command.session === null ? undefined : this.#sessions.get(command.session);
    if (session === undefined || session.address !== command.address) return null;
    this.#renew(session, nowMs);
    return session;
  }

  hello(command: Of<"hello">, nowMs: number, out: Effects): void {
    let session = this.#sessions.get(command.session);
    if (session === undefined) {
      if (command.resume || this.#ended.has(command.session))
        return ended(command.address, "SESSION_ENDED", out);
      if (this.#isFull()) return ended(command.address, "LIMIT_EXCEEDED", out);
      const { client, leaseMs, owner } = command;
      session = new Session(command.session, client, leaseMs, owner);
      session.reads = command.reads === true;
      session.holdsKnown = this.#options.writesSessionHolds || session.reads;
      this.#add(session);
      this.#grants.table.deadlines.set(session, nowMs + leaseMs);
      out.changes.push(sessionPut(session));
      this.#grants.table.totals.sessionsOpened++;
    } else if (session.reads !== (command.reads === true)) {
      // Whoever may not lock keeps no locks, and what only looks is not waited for after a crash: it must never hold.
      return ended(command.address, "SESSION_ENDED", out);
    } else if (session.client !== command.client || command.connection <= session.connection) {
      return ended(command.address, "INVALID", out, "Another connection has taken this session over.");
    }
    if (session.answers.size + (session.answersBefore?.size ?? 0) > WIRE_LIMITS.answersMax) {
      return ended(command.address, "LIMIT_EXCEEDED", out);
    }
    if (session.address !== null) {
      ended(session.address, "INVALID", out, "Another connection has taken this session over.");
      this.#away(session, nowMs, out);
    }
    if (session.awaited && session.connection === 0) {
      // What it had left must be gone from the store before the client relies on a full lease again (R6).
      out.changes.push(sessionPut(session, { isAwaited: false }));
    }
    session.address = command.address;
    if (session.connection === 0) session.expiresAtMs = nowMs + session.leaseMs;
    session.connection = command.connection;
    this.#renew(session, nowMs);
    session.syncing = true;
    session.answersBefore = new Map([...(session.answersBefore ?? []), ...session.answers]);
    session.answers = new NumberMap();
  }

  claim(command: Of<"claim">, nowMs: number, out: Effects): void {
    const session = this.live(command, nowMs);
    if (session === null) return;
    const { token, names, extra } = command;
    const known = this.#grants.table.holds.get(token);
    if (session.revoked?.has(token)) {
      session.revoked.set(token, session.connection);
      out.answers.push({ to: command.address, message: ["lost", token, "force"] });
    } else if (known?.session === session && aboutHold(known) === aboutNames(names)) {
      if (extra.lost !== true) known.seenOn = session.connection;
      if (known.askedFor !== null)
        out.answers.push({ to: command.address, message: ["asked", token, known.askedFor] });
    } else if (known !== undefined || !this.#restoreClaim(session, command, nowMs, out)) {
      out.answers.push({ to: command.address, message: ["lost", token, "expiry"] });
    } else {
      const hold = this.#grants.table.holds.get(token)!;
      hold.minUntilMs = extra.minHoldMs === undefined ? 0 : hold.grantedAtMs + extra.minHoldMs;
      if (extra.maxHoldMs === undefined) return;
      hold.maxUntilMs = hold.grantedAtMs + extra.maxHoldMs;
      this.#grants.table.deadlines.set(hold, hold.maxUntilMs);
    }
  }

  /** The client has said all it has: the two sides are made equal (R3). */
  sync(command: Of<"sync">, nowMs: number, out: Effects): void {
    const session = this.live(command, nowMs);
    if (session === null || !session.syncing) return;
    session.expiresAtMs = nowMs + session.leaseMs;
    // While it was waited for, the lock delay may have been on top of it.
    if (session.mayHold) this.#grants.table.deadlines.set(session, session.expiresAtMs);
    const resumed = session.connection > 1;
    const given = [...session.waiters.values()].filter((waiter) => waiter.seenOn !== session.connection);
    this.#grants.drop(given, "cancelled", nowMs, out);
    session.syncing = false;
    // First its waiters: they may be next for what its holds give back.
    const back = [...session.waiters.values()].filter((waiter) => !waiter.isQueued);
    const wanted = comeBack(back);
    for (const hold of session.holds()) {
      // Its holder knows nothing of it, or does not trust it any more; which of both cannot be told.
      if (hold.seenOn !== session.connection) this.#grants.abandon(hold, nowMs, out);
      else if (this.#options.writesSessionHolds && !hold.durable) this.#grants.table.write(hold, out);
    }
    for (const [token, spokenOfOn] of session.revoked ?? []) {
      if (spokenOfOn !== session.connection) this.#forgetRevoked(session, token, out);
    }
    if (this.#options.writesSessionHolds && !session.holdsKnown) {
      session.holdsKnown = true;
      out.changes.push(sessionPut(session, { isAwaited: false }));
    }
    for (const lock of wanted) this.#grants.serve(lock, nowMs, out);
    if (back.length > 0) this.#grants.breakDeadlocks(back, nowMs, out);
    session.restored = false;
    session.answersBefore = null;
    if (session.awaited) this.#returned(session, nowMs, out);
    tell(session, ["welcome", { session: session.id, leaseMs: session.leaseMs, resumed }], out);
  }

  disconnect(command: Of<"disconnect">, nowMs: number, out: Effects): void {
    const session = this.#sessions.get(command.session);
    if (session?.address === command.address) this.#away(session, nowMs, out);
  }

  heartbeat(command: Of<"heartbeat">, nowMs: number, out: Effects): void {
    if (this.live(command, nowMs) === null) return refuse(command, "SESSION_ENDED", out);
    out.answers.push({ to: command.address, message: ["done", command.id, null] });
  }

  acknowledge(command: Of<"acknowledge">, nowMs: number, out: Effects): void {
    const session = this.live(command, nowMs);
    if (session === null) return;
    for (const id of command.ids) {
      const stored = session.answers.get(id);
      if (stored === undefined) continue;
      session.answers.delete(id);
      this.#grants.table.acknowledged(session, id, stored.message, out);
    }
    for (const token of command.lostTokens) this.#forgetRevoked(session, token, out);
  }

  /** A hold is freed by force: that is recorded (A7), and its session is told, now or when it returns. */
  forced(
    hold: Hold,
    act: { readonly who: string; readonly name: string; readonly reason: string },
    out: Effects,
  ): void {
    const { session, token, owner: holder, requestId } = hold;
    const { who, ...what } = act;
    out.changes.push({
      type: "audit",
      id: "",
      value: { who, what: "force release", details: { ...what, token, holder } },
    });
    // Who has no connection claims nothing when he comes back: his renewals and releases are refused.
    if (session === null || session.isHttp) return;
    // It stays so until the session has heard of it, crashes or not (R3). It may have named it on its present connection
    // already: the `sync` of that one shows nothing.
    this.restoreRevoked(session, token, session.connection);
    const id = revokedId(session, token);
    out.changes.push({ type: "revoked", id, value: { token, session: session.id } });
    tell(session, ["lost", token, "force"], out);
    // It may not have heard of the grant. Told when it asks again, that would bring the hold back to life.
    replaceAnswer(session, requestId, forcedMessage(requestId));
  }

  bye(command: Of<"bye">, nowMs: number, out: Effects): void {
    const session = this.live(command, nowMs);
    if (session === null) return refuse(command, "SESSION_ENDED", out);
    this.#dropAll(session, nowMs, out);
    for (const hold of session.holds()) this.#grants.letGo(hold, nowMs, out);
    this.#end(session, nowMs, out);
    out.answers.push({ to: command.address, message: ["done", command.id, true] });
  }

  #isFull(): boolean {
    const { sessionsMax, isFull } = this.#options;
    return this.#sessions.size >= sessionsMax || isFull?.("sessions") === true;
  }

  /** Opens a session without a connection; one that is open already is the same. */
  openHttp(command: Of<"openSession">, nowMs: number, out: Effects): void {
    const { id, address, session: sessionId, leaseMs, owner } = command;
    const known = this.#sessions.get(sessionId);
    if (known !== undefined && (!known.isHttp || known.leaseMs !== leaseMs || known.owner !== owner))
      return refuse(command, "REQUEST_ID_REUSED", out);
    if (known === undefined && this.#ended.has(sessionId)) return refuse(command, "SESSION_ENDED", out);
    if (known === undefined && this.#isFull()) return refuse(command, "LIMIT_EXCEEDED", out);
    if (known === undefined) {
      // No native client has a name like this one.
      const session = new Session(sessionId, `http:${sessionId}`, leaseMs, owner, true);
      session.holdsKnown = true;
      session.expiresAtMs = nowMs + leaseMs;
      this.#add(session);
      this.#grants.table.totals.sessionsOpened++;
      this.#grants.table.deadlines.set(session, session.expiresAtMs);
      out.changes.push(sessionPut(session));
    }
    this.overHttp(sessionId, nowMs, out);
    const info = { session: sessionId, leaseMs, resumed: known !== undefined };
    out.answers.push({ to: address, message: ["done", id, info] });
  }

  /**
   * The HTTP session that somebody names, renewed by it (L4); null if it is over. One that was waited for after a crash is
   * back: what it had left is erased, durably, before it hears that it has a full lease again (R6).
   */
  overHttp(sessionId: string, nowMs: number, out: Effects): Session | null {
    const session = this.#sessions.get(sessionId);
    if (session?.isHttp !== true) return null;
    session.expiresAtMs = nowMs + session.leaseMs;
    session.restored = false;
    if (session.awaited) {
      session.awaited = false;
      out.changes.push(sessionPut(session));
    }
    return session;
  }

  keepHttp(command: Of<"keepSession">, nowMs: number, out: Effects): void {
    const { id, address, session: sessionId } = command;
    const session = this.overHttp(sessionId, nowMs, out);
    if (session === null) return refuse(command, "SESSION_ENDED", out);
    const info = { session: sessionId, leaseMs: session.leaseMs, resumed: true };
    out.answers.push({ to: address, message: ["done", id, info] });
  }

  endHttp(command: Of<"endSession">, nowMs: number, out: Effects): void {
    const session = this.overHttp(command.session, nowMs, out);
    if (session === null) return refuse(command, "SESSION_ENDED", out);
    this.#grants.dropCalls([...(session.calls ?? [])], nowMs, out);
    for (const hold of session.holds()) this.#grants.letGo(hold, nowMs, out);
    this.#end(session, nowMs, out);
    out.answers.push({ to: command.address, message: ["done", command.id, true] });
  }

  /** The time of a session in the heap has come: it is over, unless it was renewed since. */
  due(session: Session, nowMs: number, out: Effects): void {
    const overAtMs = this.#overAtMs(session);
    if (overAtMs > nowMs) return this.#grants.table.deadlines.set(session, overAtMs);
    if (session.address !== null) ended(session.address, "SESSION_ENDED", out);
    this.#grants.table.totals.sessionsExpired++;
    this.#end(session, nowMs, out);
  }

  restore(id: string, record: SessionRecord, clean: boolean, nowMs: number, out: Effects): void {
    const {
      client,
      leaseMs,
      owner,
      awaitedUntilMs,
      holdsKnown = false,
      http = false,
      reads = false,
    } = record;
    const session = new Session(id, client, leaseMs, owner, http);
    session.restored = true;
    session.awaited = !clean || awaitedUntilMs !== undefined;
    session.reads = reads;
    session.mayHold = session.awaited && !holdsKnown;
    session.holdsKnown = (this.#options.writesSessionHolds || http || reads) && !session.mayHold;
    session.expiresAtMs = awaitedUntilMs ?? nowMs + leaseMs;
    if (session.mayHold) this.#unknownCount++;
    this.#add(session);
    this.#grants.table.deadlines.set(session, this.#overAtMs(session));
    const isFirstWait = session.awaited && awaitedUntilMs === undefined;
    if (isFirstWait || session.holdsKnown !== holdsKnown) out.changes.push(sessionPut(session));
  }

  /** The lock delay is another: also for those who are waited for. */
  delayChanged(): void {
    if (!this.recovering) return;
    for (const session of this.#sessions.values()) {
      if (session.mayHold) this.#grants.table.deadlines.set(session, this.#overAtMs(session));
    }
  }

  /**
   * When a silent session is over. Which locks it held is not known after a crash, so the delay that they would be closed
   * for is waited for together with it (L8).
   */
  #overAtMs({ expiresAtMs, mayHold }: Session): number {
    return expiresAtMs + (mayHold ? this.#grants.settings.lockDelayMs : 0);
  }

  /** @param spokenOfOn the connection on which the session has, perhaps, named this hold */
  restoreRevoked(session: Session, token: number, spokenOfOn = 0): void {
    session.revoked ??= new Map();
    session.revoked.set(token, spokenOfOn);
  }

  /** Believes a claim after an unclean start, unless its token was never given out or another claim outranks it. */
  #restoreClaim(session: Session, claim: Of<"claim">, nowMs: number, out: Effects): boolean {
    if (!session.mayHold || claim.token >= this.#grants.table.ceilings.tokens) return false;
    if (session.holdCount >= WIRE_LIMITS.claimsMax) return false;
    const { table } = this.#grants;
    const wanted = table.locksFor(claim.names);
    const rivals = new Set<Hold>();
    let isOutranked = false;
    for (const { lock, mode } of wanted) {
      for (let grip = lock.firstGrip; grip !== null; grip = grip.nextOfLock) {
        // Two by two: of a semaphore's holders that are too many together nobody knows which one is over. Nothing is granted
        // beside them until they are few enough.
        if (goTogether(grip.mode, mode)) continue;
        // What the store says of a hold that stands is so. What it says of one that is over may be older than the claim.
        const stands = (grip.hold.durable && !grip.hold.remainder) || grip.hold.token > claim.token;
        if (stands) isOutranked = true;
        else rivals.add(grip.hold);
      }
    }
    if (isOutranked) {
      table.forgetIdle(wanted);
      return false;
    }
    for (const rival of rivals) {
      noteHold(out, "expired", rival);
      if (!rival.remainder) table.totals.holdEnded("displaced", nowMs - rival.grantedAtMs);
      table.free(rival, nowMs, out);
      // Of a set only some locks may have been in the way: the others are nobody's now.
      for (const { lock } of rival.grips)
        if (!wanted.some((want) => want.lock === lock)) table.locks.forgetIdle(lock);
      if (rival.session !== null) tell(rival.session, ["lost", rival.token, "expiry"], out);
    }
    const grantedAtMs = nowMs - (claim.extra.heldMs ?? 0);
    const from = { owner: session.owner, client: session.client, id: 0 };
    const { metadata = {}, leads = false } = claim.extra;
    const hold = new Hold(claim.token, wanted, session, from, { metadata, leads }, grantedAtMs);
    // One that is lost is only restored to be ended by the `sync`, with all that comes of it.
    if (claim.extra.lost !== true) hold.seenOn = session.connection;
    table.insert(hold);
    table.totals.restored++;
    noteHold(out, "restored", hold);
    return true;
  }

  /**
   * The records of a clean stop for those who are not back yet: what they have left goes on counting (R6), and whose holds
   * are not known is waited for by the next start, too. Of all others the stop writes down the holds (R5).
   */
  awaitedRecords(): readonly DurableChange[] {
    return [...this.#sessions.values()]
      .filter(({ awaited, restored, connection }) => awaited || (restored && connection === 0))
      .map((session) => sessionPut(session, { isAwaited: true, holdsKnown: !session.mayHold }));
  }

  /** Nothing of it can arrive any more. */
  forgetEnded(session: EndedSession): void {
    this.#ended.delete(session.id);
  }

  /** A session that is waited for is renewed by its first `hello` and its `sync` only, or recovery might never end. */
  #renew(session: Session, nowMs: number): void {
    if (!session.awaited) session.expiresAtMs = nowMs + session.leaseMs;
  }

  #away(session: Session, nowMs: number, out: Effects): void {
    session.address = null;
    this.#grants.leave([...session.waiters.values()], nowMs, out);
    this.#postponed.dropOf(session.id);
  }

  #dropAll(session: Session, nowMs: number, out: Effects): void {
    this.#grants.drop([...session.waiters.values()], "session ended", nowMs, out);
  }

  /** Ends a session and all it had. Its end is durable before anything it held is granted to another (R2). */
  #end(session: Session, nowMs: number, out: Effects): void {
    out.changes.push({ type: "session", id: session.id, value: null });
    this.#sessions.delete(session.id);
    this.#grants.table.deadlines.delete(session);
    const over: EndedSession = { kind: "ended", id: session.id, dueMs: 0, heapIndex: -1 };
    this.#ended.set(session.id, over);
    this.#grants.table.deadlines.set(over, nowMs + ENDED_KEPT_MS);
    this.#grants.together(nowMs, out, () => {
      this.#away(session, nowMs, out);
      // All its waiters go before any of its holds: none of them may be the next holder (Q3).
      this.#dropAll(session, nowMs, out);
      this.#grants.dropCalls([...(session.calls ?? [])], nowMs, out);
      for (const hold of session.holds()) this.#grants.expire(hold, nowMs, out);
    });
    for (const token of [...(session.revoked?.keys() ?? [])]) this.#forgetRevoked(session, token, out);
    if (session.awaited) this.#returned(session, nowMs, out);
  }

  /** One session fewer to wait for. With the last one that may hold something recovery ends. */
  #returned(session: Session, nowMs: number, out: Effects): void {
    session.awaited = false;
    if (!session.mayHold) return;
    session.mayHold = false;
    this.#unknownCount--;
    if (!this.recovering) this.#onRecovered(nowMs, out);
  }

  #forgetRevoked(session: Session, token: number, out: Effects): void {
    if (!session.revoked?.delete(token)) return;
    out.changes.push({ type: "revoked", id: revokedId(session, token), value: null });
  }
}

/** Waiters of one session, or one of a call, are back in their queues, in ticket order. @returns the locks that they want */
export function comeBack(waiters: readonly Waiter[]): readonly Lock[] {
  const placesByLock = new Map<Lock, Place[]>();
  for (const waiter of waiters) {
    for (const place of waiter.places) {
      const ofLock = placesByLock.get(place.lock);
      if (ofLock === undefined) placesByLock.set(place.lock, [place]);
      else ofLock.push(place);
    }
  }
  for (const [lock, places] of placesByLock) {
    lock.comeBack(places.sort((a, b) => a.waiter.ticket - b.waiter.ticket));
  }
  return [...placesByLock.keys()];
}

/** A token alone does not say whose it was: who claims what is not his must not touch another's record. */
function revokedId(session: Session, token: number): string {
  return `${token}/${session.id}`;
}

/** A session as it is written down. `isAwaited`: with what it has left (R6). */
function sessionPut(
  session: Session,
  { isAwaited = session.awaited, holdsKnown = session.holdsKnown } = {},
): DurableChange {
  const { id, client, leaseMs, owner, expiresAtMs } = session;
  const value: SessionRecord = {
    client,
    leaseMs,
    owner,
    ...(holdsKnown ? { holdsKnown } : {}),
    ...(session.isHttp ? { http: true } : {}),
    ...(session.reads ? { reads: true } : {}),
    ...(isAwaited ? { awaitedUntilMs: expiresAtMs } : {}),
  };
  return { type: "session", id, value };
}
