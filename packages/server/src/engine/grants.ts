import type { EndedBy, ServerMessage, ServiceSettings } from "lockdb/protocol";
import { keepAnswer, sweepAnswers } from "./answers.js";
import type { Effects } from "./commands.js";
import { LockTable, type Requester } from "./lock-table.js";
import { PreviousHolds } from "./previous.js";
import { grantedMessage, tell } from "./replies.js";
import type { Caller, Hold, HoldTerms, Lock, Session, Waiter } from "./state.js";

/** How holds end and locks are given on, and how those who asked get their answers. */
export class Grants {
  readonly table: LockTable;
  readonly previous = new PreviousHolds();
  /** HTTP requests that wait, or were granted and not handed over yet. */
  readonly callers = new Map<string, Caller>();
  settings: ServiceSettings = { lockDelayMs: 0 };

  constructor(writesSessionHolds: boolean) {
    this.table = new LockTable(writesSessionHolds);
  }

  /** Ends a hold by its holder's wish; what remains of a minimum hold stays closed, durably (L7). */
  letGo(hold: Hold, nowMs: number, out: Effects): void {
    this.previous.settle(hold.lock.name, out);
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
  force(hold: Hold, nowMs: number, out: Effects): void {
    if (hold.remainder) this.takeBack(hold, nowMs, out);
    else this.#end(hold, "force", nowMs, nowMs, out);
  }

  /** Takes a hold away, whatever it was: the next waiter has the lock in the same step (Q2). */
  takeBack(hold: Hold, nowMs: number, out: Effects): void {
    this.table.free(hold, nowMs, out);
    const { lock, token, owner, endedBy } = hold;
    if (endedBy !== null) this.previous.remember(lock.name, { endedBy, token, owner }, out);
    this.grantNext(lock, nowMs, out);
  }

  /** Grants a lock that nobody holds. */
  grant(
    lock: Lock,
    to: Requester,
    terms: HoldTerms,
    ticket: number | null,
    nowMs: number,
    out: Effects,
  ): ServerMessage {
    const { token } = this.table.grant(lock, to, terms, nowMs, out);
    return grantedMessage(to.id, token, ticket, this.previous.of(lock.name));
  }

  /** Gives a free lock to the first waiter who can be reached. */
  grantNext(lock: Lock, nowMs: number, out: Effects): void {
    const waiter = this.table.takeNext(lock);
    if (waiter === null) return;
    const message = this.grant(lock, waiter, waiter.terms, waiter.ticket, nowMs, out);
    this.settleWaiter(waiter, message, nowMs, out);
  }

  /** Recovery is over: queues move, in ticket order (R4). */
  open(nowMs: number, out: Effects): void {
    this.table.granting = true;
    const waitedFor = [...this.table.locks.values()].filter((lock) => lock.first !== null);
    waitedFor.sort((a, b) => a.first!.ticket - b.first!.ticket);
    for (const lock of waitedFor) this.grantNext(lock, nowMs, out);
  }

  /** Answers a request, and keeps the answer until the session has it (Q6). */
  settle(
    session: Session | null,
    command: { readonly id: number; readonly address: string },
    about: string,
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
      keepAnswer(waiter.session, waiter.id, { message, about: waiter.lock.name, atMs: nowMs });
      return tell(waiter.session, message, out);
    }
    const { address } = waiter.caller!;
    if (message[0] !== "granted") this.callers.delete(address);
    out.answers.push({ to: address, message });
  }

  #end(hold: Hold, endedBy: EndedBy | null, closedUntilMs: number, nowMs: number, out: Effects): void {
    hold.endedBy = endedBy;
    if (closedUntilMs > nowMs) this.table.keepClosed(hold, closedUntilMs, out);
    else this.takeBack(hold, nowMs, out);
  }
}
