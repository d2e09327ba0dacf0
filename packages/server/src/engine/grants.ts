import type { ServerMessage } from "lockdb/protocol";
import { keepAnswer, sweepAnswers } from "./answers.js";
import type { Effects } from "./commands.js";
import { LockTable } from "./lock-table.js";
import { tell } from "./replies.js";
import type { Caller, Hold, Lock, Session, Waiter } from "./state.js";

/** How holds end and locks are given on, and how those who asked get their answers. */
export class Grants {
  readonly table = new LockTable();
  /** HTTP requests that wait, or were granted and not handed over yet. */
  readonly callers = new Map<string, Caller>();

  /** Ends a hold by its holder's wish; what remains of a minimum hold stays closed, durably (L7). */
  letGo(hold: Hold, nowMs: number, out: Effects): void {
    if (hold.minUntilMs <= nowMs) return this.takeBack(hold, nowMs, out);
    hold.session?.removeHold(hold);
    hold.session = null;
    hold.remainder = true;
    this.table.keepUntil(hold, hold.minUntilMs, out);
  }

  /** Ends a hold that nobody used, or that is over: the next waiter has the lock in the same step (Q2). */
  takeBack(hold: Hold, nowMs: number, out: Effects): void {
    this.table.free(hold, nowMs, out);
    this.grantNext(hold.lock, nowMs, out);
  }

  /** Gives a free lock to the first waiter who can be reached. */
  grantNext(lock: Lock, nowMs: number, out: Effects): void {
    const waiter = this.table.takeNext(lock);
    if (waiter === null) return;
    const message = this.table.grant(lock, waiter, waiter.terms, waiter.ticket, nowMs, out);
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
}
