import type { Previous, ServerMessage, ServiceSettings } from "lockdb/protocol";
import { keepAnswer, sweepAnswers } from "./answers.js";
import type { About, DeliveryFacts, Effects, EngineOptions } from "./commands.js";
import { Deadlocks } from "./deadlock.js";
import { noteHold, noteWaiter } from "./events.js";
import type { Grip, Lock } from "./lock.js";
import { aboutWaiter, LockTable, type Requester, wantsIn } from "./lock-table.js";
import { EXCLUSIVE } from "./modes.js";
import { CALL_ID, OpenCalls } from "./open-calls.js";
import { PreviousHolds } from "./previous.js";
import type { Place } from "./queue.js";
import { coveringHold, grantedAgain } from "./reentry.js";
import { deadlockMessage, grantedMessage, refusal, tell } from "./replies.js";
import type { Call, Caller, Hold, HoldTerms, LockAndMode, Session, Waiter } from "./state.js";
import type { HoldEnd, Totals } from "./totals.js";

/** How much one step looks at for deadlocks. */
const DEADLOCK_STEPS_MAX = 200_000;

/** How holds end and locks are given on, and how those who asked get their answers. */
export class Grants {
  readonly table: LockTable;
  readonly previous: PreviousHolds;
  /** HTTP requests that wait, or were granted and not handed over yet. */
  readonly callers = new Map<string, Caller>();
  readonly calls = new OpenCalls(this.callers);
  settings: ServiceSettings = { lockDelayMs: 0 };
  /** What is freed by several ends that come together; null: each is given on at once. */
  #freed: Set<Lock> | null = null;

  constructor(
    { writesSessionHolds, lostMax }: Pick<EngineOptions, "writesSessionHolds" | "lostMax">,
    totals: Totals,
  ) {
    this.previous = new PreviousHolds(lostMax);
    this.table = new LockTable(writesSessionHolds, totals);
  }

  /** Ends a hold by its holder's wish; what remains of a minimum hold stays closed, durably (L7). */
  letGo(hold: Hold, nowMs: number, out: Effects): void {
    for (let grip: Grip | null = hold; grip !== null; grip = grip.nextOfHold) {
      this.previous.settle(grip.lock.name, out);
    }
    this.#end(hold, null, hold.minUntilMs, nowMs, out);
  }

  /** Ends a hold whose time is over: the next holder is told (Q11), after the lock delay (L8). */
  expire(hold: Hold, nowMs: number, out: Effects): void {
    if (hold.remainder) return this.takeBack(hold, nowMs, out);
    this.#end(hold, "expiry", nowMs + this.settings.lockDelayMs, nowMs, out);
  }

  /** Ends a hold that its holder has given up as lost: that is an expiry, but no way around a minimum hold. */
  abandon(hold: Hold, nowMs: number, out: Effects): void {
    const closedUntilMs = Math.max(hold.minUntilMs, nowMs + this.settings.lockDelayMs);
    this.#end(hold, "expiry", closedUntilMs, nowMs, out);
  }

  /** Ends a hold against its holder's wish, or opens what remains of one. */
  force(hold: Hold, reason: string, nowMs: number, out: Effects): void {
    this.#forced(hold, reason, nowMs, out);
    this.#serveAll(hold, nowMs, out);
  }

  /** Frees a lock by force from all who hold it, and grants it before all who wait. */
  steal(lock: Lock, to: Requester, terms: HoldTerms, nowMs: number, out: Effects): ServerMessage {
    const served = new Set<Lock>();
    while (lock.hold !== null) {
      const { hold } = lock;
      this.#forced(hold, "stolen", nowMs, out);
      for (const grip of hold.grips) served.add(grip.lock);
    }
    const message = this.grant([{ lock, mode: EXCLUSIVE }], to, terms, null, nowMs, out);
    for (const other of served) this.serve(other, nowMs, out);
    return message;
  }

  /** Takes a hold away, whatever it was: the next waiters have its locks in the same step (Q2). */
  takeBack(hold: Hold, nowMs: number, out: Effects): void {
    noteHold(out, hold.remainder ? "opened" : "released", hold);
    this.#count("taken_back", hold, nowMs);
    this.#free(hold, nowMs, out);
    this.#serveAll(hold, nowMs, out);
  }

  /** Grants locks that have room for it. @param sinceMs when it came to its queue; default: it was in none */
  grant(
    wanted: readonly LockAndMode[],
    to: Requester,
    terms: HoldTerms,
    ticket: number | null,
    nowMs: number,
    out: Effects,
    sinceMs: number = nowMs,
  ): ServerMessage {
    const hold = this.table.grant(wanted, to, terms, nowMs, out);
    this.table.totals.granted++;
    this.table.tally.granted++;
    this.table.tally.waits[this.table.totals.waitMs.observe(nowMs - sinceMs)]!++;
    noteHold(out, "granted", hold, ticket === null ? undefined : { ticket });
    return grantedMessage(to.id, hold.token, { ticket, previous: this.previousOf(wanted) });
  }

  /** The last hold of any of these locks that was not given back; of several, the newest (Q11). */
  previousOf(grips: readonly { readonly lock: Lock }[]): Previous | undefined {
    let newest: Previous | undefined;
    for (const { lock } of grips) {
      const previous = this.previous.of(lock.name);
      if (previous !== undefined && previous.token > (newest?.token ?? 0)) newest = previous;
    }
    return newest;
  }

  /**
   * Gives a lock on: to the first in its queue, and to others behind him as long as nobody is passed who is in their way
   * (Q4, Q5). Whoever wants other locks too gets all of them in this step, or waits on.
   */
  serve(lock: Lock, nowMs: number, out: Effects): void {
    if (this.#freed !== null) return void this.#freed.add(lock);
    for (;;) {
      const place = this.table.granting ? lock.blocked : null;
      if (place === null || !lock.room().fits(place.mode)) break;
      const { waiter } = place;
      const isGranted = hasRoomBeside(waiter, place);
      // Granted or not: those behind come after him.
      lock.unblock(place);
      if (isGranted) this.#grantWaiter(waiter, nowMs, out);
    }
    this.table.locks.forgetIdle(lock);
  }

  /**
   * Several ends at once: only then is given on what they have freed. Whoever were granted a lock in between, beside a hold that ends a moment later, would not be
   * told of it (Q11).
   */
  together(nowMs: number, out: Effects, end: () => void): void {
    const freed = new Set<Lock>();
    this.#freed = freed;
    end();
    this.#freed = null;
    for (const lock of freed) this.serve(lock, nowMs, out);
  }

  /** Takes waiters out of their queues, then gives on what they were in the way of (Q3). */
  drop(waiters: readonly Waiter[], reason: string, nowMs: number, out: Effects): void {
    for (const waiter of waiters) {
      noteWaiter(out, "left", waiter, { reason });
      this.table.dequeue(waiter);
    }
    for (const lock of locksOf(waiters)) this.serve(lock, nowMs, out);
  }

  /** These cannot be reached any more: who stands behind them is not kept waiting (Q7). */
  leave(waiters: readonly Waiter[], nowMs: number, out: Effects): void {
    for (const { places } of waiters) for (const place of places) place.lock.leave(place);
    for (const lock of locksOf(waiters)) this.serve(lock, nowMs, out);
  }

  #grantWaiter(waiter: Waiter, nowMs: number, out: Effects): void {
    const { places, ticket } = waiter;
    this.table.dequeue(waiter);
    const message = this.grant(places, waiter, waiter.terms, ticket, nowMs, out, waiter.since);
    this.settleWaiter(waiter, message, nowMs, out);
  }

  /**
   * Refuses requests that have come to wait for each other while that could not be seen: those who ask are away now and
   * then, and a server that recovers does not know yet who holds what (D2). Of each circle the youngest goes. What is much
   * goes on in a later step: others are waiting.
   * @param suspects who may have closed a circle by coming to their queues
   */
  breakDeadlocks(suspects: readonly Waiter[], nowMs: number, out: Effects): void {
    if (this.table.nested.size === 0 || !this.table.granting) return;
    let steps = 0;
    while (steps < DEADLOCK_STEPS_MAX) {
      const all = new Deadlocks(suspects);
      steps += all.steps;
      if (!suspects.some((waiter) => all.isStuck(waiter))) return;
      let youngest: Waiter | null = null;
      let isRefused = false;
      for (const waiter of all.stuckInside()) {
        const around = new Deadlocks([waiter]);
        // One that was refused may have been all that it waited for.
        if (!around.isStuck(waiter)) continue;
        youngest ??= waiter;
        // One that only stands behind a circle of others is none itself.
        const alone = new Deadlocks([waiter], waiter);
        if (!alone.isStuck(waiter)) {
          this.#refuseDeadlock(waiter, around, nowMs, out);
          isRefused = true;
        }
        steps += around.steps + alone.steps;
        if (steps >= DEADLOCK_STEPS_MAX) break;
      }
      if (youngest === null) return;
      // Circles may go through each other, so that none is there because of one request alone.
      if (!isRefused) this.#refuseDeadlock(youngest, new Deadlocks([youngest]), nowMs, out);
    }
    this.table.deadlines.set(this.table.deadlockCheck, nowMs + 1);
  }

  #refuseDeadlock(waiter: Waiter, deadlocks: Deadlocks, nowMs: number, out: Effects): void {
    const cycle = deadlocks.cycleOf(waiter);
    this.table.tally.deadlocks++;
    noteWaiter(out, "deadlock", waiter, { cycle, round: deadlocks.roundOf(waiter) });
    this.drop([waiter], "deadlock", nowMs, out);
    this.settleWaiter(waiter, deadlockMessage(waiter.id, cycle), nowMs, out);
  }

  /** Recovery is over: queues move, in ticket order (R4). */
  open(nowMs: number, out: Effects): void {
    this.table.granting = true;
    this.table.findOuter();
    for (const waiter of this.table.nested) this.#enterAgain(waiter, nowMs, out);
    const waitedFor = [...this.table.locks.values()].filter((lock) => lock.first !== null);
    waitedFor.sort((a, b) => a.first!.waiter.ticket - b.first!.waiter.ticket);
    for (const lock of waitedFor) lock.rewind();
    for (const lock of waitedFor) this.serve(lock, nowMs, out);
    this.breakDeadlocks([...this.table.nested], nowMs, out);
  }

  /** A holder has said only after the request that he has what is wanted inside of his hold (D3). */
  #enterAgain(waiter: Waiter, nowMs: number, out: Effects): void {
    const { session, outer, terms, id } = waiter;
    const hold = terms.reentrant ? coveringHold(outer, wantsIn(waiter.places)) : undefined;
    if (session === null || hold === undefined) return;
    noteWaiter(out, "left", waiter, { reason: "granted again" });
    this.table.dequeue(waiter);
    keepAnswer(session, id, { message: null, about: aboutWaiter(waiter), atMs: nowMs });
    tell(session, grantedAgain(id, hold, nowMs), out);
  }

  /** Answers a request, and keeps the answer until the session has it (Q6). */
  settle(
    session: Session | null,
    command: { readonly id: number; readonly address: string },
    about: About,
    message: ServerMessage,
    nowMs: number,
    out: Effects,
  ): void {
    if (session !== null) {
      sweepAnswers(session, this.table.holds, nowMs);
      keepAnswer(session, command.id, { message, about, atMs: nowMs });
    }
    out.answers.push({ to: command.address, message });
  }

  /** The same for somebody who has waited. */
  settleWaiter(waiter: Waiter, message: ServerMessage, nowMs: number, out: Effects): void {
    if (waiter.session !== null) {
      keepAnswer(waiter.session, waiter.id, { message, about: aboutWaiter(waiter), atMs: nowMs });
      return tell(waiter.session, message, out);
    }
    const { address, call } = waiter.caller!;
    if (call !== null) return this.calls.settle(call, message, nowMs, out);
    if (message[0] !== "granted") this.callers.delete(address!);
    out.answers.push({ to: address!, message });
  }

  /** Ends calls with their session. All leave their queues before anybody is served: none of them may be the next (Q3). */
  dropCalls(calls: readonly Call[], nowMs: number, out: Effects): void {
    const waiting = calls.filter(({ waiter }) => waiter !== null);
    this.drop(
      waiting.map(({ waiter }) => waiter!),
      "session ended",
      nowMs,
      out,
    );
    for (const call of waiting) this.calls.settle(call, refusal(CALL_ID, "SESSION_ENDED"), nowMs, out);
    // The others have answers that nobody has heard: the next one is that there is no such session.
    for (const call of calls) this.forgetCall(call);
  }

  forgetCall(call: Call): void {
    this.table.deadlines.delete(call);
    this.calls.delete(call);
  }

  #end(hold: Hold, endedBy: "expiry" | null, closedUntilMs: number, nowMs: number, out: Effects): void {
    this.#count(endedBy === null ? "released" : "expired", hold, nowMs);
    hold.endedBy = endedBy;
    this.#oweDeliveries(hold, endedBy ?? "release", out);
    const type = endedBy === null ? "released" : "expired";
    if (closedUntilMs > nowMs) {
      noteHold(out, type, hold, { closedForMs: closedUntilMs - nowMs });
      return this.table.keepClosed(hold, closedUntilMs, out);
    }
    noteHold(out, type, hold);
    this.#free(hold, nowMs, out);
    this.#serveAll(hold, nowMs, out);
  }

  /** Its end is to be told, once a name. What is taken back has no such end: nobody knows that it was held (C5, Q7). */
  #oweDeliveries(hold: Hold, endedBy: DeliveryFacts["endedBy"], out: Effects): void {
    const url = this.table.webhooks.get(hold);
    if (url === undefined) return;
    // What remains of it is told of no more.
    this.table.webhooks.delete(hold);
    const { token } = hold;
    for (const [at, { lock }] of hold.grips.entries()) {
      const value: DeliveryFacts = { url, lockName: lock.name, token, endedBy };
      out.changes.push({ type: "delivery", id: `${token}.${at}`, value });
    }
  }

  /** Gives on all that a hold had. */
  #serveAll(hold: Hold, nowMs: number, out: Effects): void {
    for (let grip: Grip | null = hold; grip !== null; grip = grip.nextOfHold)
      this.serve(grip.lock, nowMs, out);
  }

  #forced(hold: Hold, reason: string, nowMs: number, out: Effects): void {
    noteHold(out, "forced", hold, { reason });
    this.#count("forced", hold, nowMs);
    if (!hold.remainder) hold.endedBy = "force";
    this.#oweDeliveries(hold, "force", out);
    this.#free(hold, nowMs, out);
  }

  /** What remains of a hold was counted when that ended. */
  #count(how: HoldEnd, hold: Hold, nowMs: number): void {
    if (hold.remainder) return;
    this.table.totals.holdEnded(how, nowMs - hold.grantedAtMs);
    this.table.tally.holdEnded(how);
  }

  /** Its locks have room then, which nobody is given yet. */
  #free(hold: Hold, nowMs: number, out: Effects): void {
    this.table.free(hold, nowMs, out);
    const { token, owner, endedBy } = hold;
    if (endedBy === null) return;
    for (const { lock } of hold.grips) this.previous.remember(lock.name, { endedBy, token, owner }, out);
  }
}

/** Each lock once, however many of them want it. */
function locksOf(waiters: readonly Waiter[]): ReadonlySet<Lock> {
  return new Set(waiters.flatMap(({ places }) => places.map(({ lock }) => lock)));
}

/** True when at its other places, too, nobody who has the lock or waits before it is in its way. */
function hasRoomBeside(waiter: Waiter, seen: Place): boolean {
  for (let place: Place | null = waiter; place !== null; place = place.nextOfWaiter) {
    if (place === seen) continue;
    if (!place.isQueued || !place.lock.hasRoomAt(place)) return false;
  }
  return true;
}
