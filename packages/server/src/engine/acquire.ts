import { type ErrorCode, WIRE_LIMITS } from "lockdb/protocol";
import { keepAnswer } from "./answers.js";
import type { AcquireCommand, Effects, EngineOptions } from "./commands.js";
import { Deadlocks } from "./deadlock.js";
import { noteWaiter } from "./events.js";
import type { Grants } from "./grants.js";
import type { Lock } from "./lock.js";
import { aboutNames, type Requester } from "./lock-table.js";
import { wantsOf } from "./modes.js";
import { coveringHold, grantedAgain } from "./reentry.js";
import type { Repeats } from "./repeats.js";
import { deadlockMessage, refusal, refusalOfLock, refuse } from "./replies.js";
import type { Sessions } from "./sessions.js";
import type { Caller, LockAndMode, Session } from "./state.js";

const OUTBOX_FULL =
  "Too many webhook deliveries of this account are pending. See why: GET /v1/webhooks/deliveries. Or lock without a webhook.";

/** Requests for locks: granted, queued, or refused with who is in the way. */
export class Acquire {
  readonly #options: EngineOptions;
  readonly #grants: Grants;
  readonly #sessions: Sessions;
  readonly #repeats: Repeats;

  constructor(options: EngineOptions, grants: Grants, sessions: Sessions, repeats: Repeats) {
    this.#options = options;
    this.#grants = grants;
    this.#sessions = sessions;
    this.#repeats = repeats;
  }

  apply(command: AcquireCommand, nowMs: number, out: Effects): void {
    const { id, waitMs } = command;
    const { table } = this.#grants;
    const session = this.#sessions.live(command, nowMs);
    const about = aboutNames(command.names);
    if (command.session !== null) {
      if (session === null) return refuse(command, "SESSION_ENDED", out);
      if (this.#repeats.answeredAcquire(session, command, about, out)) return;
    }
    const again = command.reentrant
      ? coveringHold(table.holdsOf(command.within), wantsOf(command.names))
      : undefined;
    if (again !== undefined) {
      // Sent once more it is looked for anew: by then that hold may be over.
      if (session !== null) keepAnswer(session, id, { message: null, about, atMs: nowMs });
      out.answers.push({ to: command.address, message: grantedAgain(id, again, nowMs) });
      return;
    }
    // It was a part of a hold that is over: there is none that the client would find lost (D3).
    if (session !== null && this.#repeats.hasEntered(session, id))
      return this.#grants.settle(session, command, about, refusal(id, "LOCK_LOST"), nowMs, out);
    const wanted = table.locksFor(command.names);
    const isSteal = command.stolenBy !== null && !this.#sessions.recovering;
    const free = isSteal || (table.isFree(wanted) && !isBehindItself(session, wanted, waitMs));
    const code = this.#refusal(session, wanted, free, command);
    if (code !== null) {
      const text = code === "LIMIT_EXCEEDED" && command.outboxIsFull === true ? OUTBOX_FULL : undefined;
      const message = refusalOfLock(id, code, wanted, nowMs, text);
      table.forgetIdle(wanted);
      return this.#grants.settle(session, command, about, message, nowMs, out);
    }
    const owner = session?.owner ?? command.owner ?? "http";
    const caller: Caller | null = session === null ? this.#caller(command.address) : null;
    const from: Requester = {
      session,
      caller,
      id,
      owner,
      client: session?.client ?? caller?.call?.client ?? null,
    };
    if (free) {
      const message = isSteal
        ? this.#steal(wanted[0]!.lock, command.stolenBy, from, command, nowMs, out)
        : this.#grants.grant(wanted, from, command, null, nowMs, out);
      return this.#grants.settle(session, command, about, message, nowMs, out);
    }
    const isBelieved = session?.restored && session.syncing && command.ticket !== null;
    const believed = isBelieved && command.ticket < table.ceilings.tickets;
    const ahead = Math.max(...wanted.map(({ lock }) => lock.waiterCount));
    const waiter = table.enqueue(wanted, from, command, waitMs, believed ? command.ticket : null, nowMs, out);
    // Of who is not in his queues yet it is asked when he comes back to them.
    if (waiter.outer.length > 0 && waiter.isQueued && table.granting) {
      const deadlocks = new Deadlocks([waiter]);
      if (deadlocks.isStuck(waiter)) {
        const cycle = deadlocks.cycleOf(waiter);
        table.tally.deadlocks++;
        noteWaiter(out, "deadlock", waiter, { cycle, round: deadlocks.roundOf(waiter) });
        table.dequeue(waiter);
        table.forgetIdle(wanted);
        return this.#grants.settle(session, command, about, deadlockMessage(id, cycle), nowMs, out);
      }
    }
    noteWaiter(out, "queued", waiter);
    out.answers.push({ to: command.address, message: ["queued", id, waiter.ticket, ahead] });
  }

  /** Whoever holds it is told, now or when he returns (R3); each of them is recorded (A7). */
  #steal(lock: Lock, who: string, from: Requester, terms: AcquireCommand, nowMs: number, out: Effects) {
    for (let grip = lock.firstGrip; grip !== null; grip = grip.nextOfLock) {
      this.#sessions.forced(grip.hold, { who, name: lock.name, reason: "stolen" }, out);
    }
    return this.#grants.steal(lock, from, terms, nowMs, out);
  }

  #caller(address: string): Caller {
    const known = this.#grants.callers.get(address);
    if (known !== undefined) return known;
    const caller: Caller = { address, waiter: null, hold: null, call: null };
    this.#grants.callers.set(address, caller);
    return caller;
  }

  #refusal(
    session: Session | null,
    wanted: readonly LockAndMode[],
    free: boolean,
    { waitMs, detachedMs, minHoldMs, stolenBy, outboxIsFull, trialIsOver }: AcquireCommand,
  ): ErrorCode | null {
    if (trialIsOver === true) return "TRIAL_ENDED";
    const { table, settings } = this.#grants;
    // All that may outlive its session.
    const mayRemain = detachedMs !== null || minHoldMs > 0 || settings.lockDelayMs > 0;
    if (mayRemain && table.detachedCount >= this.#options.holdsMax) return "LIMIT_EXCEEDED";
    if (outboxIsFull === true) return "LIMIT_EXCEEDED";
    if (detachedMs !== null && table.keptCount >= WIRE_LIMITS.answersMax) return "LIMIT_EXCEEDED";
    if (session !== null && session.holdCount + session.waiters.size >= this.#options.holdsMax)
      return "LIMIT_EXCEEDED";
    if (session !== null && session.answers.size >= WIRE_LIMITS.answersMax) return "LIMIT_EXCEEDED";
    if (this.#options.isFull?.("holds") === true) return "LIMIT_EXCEEDED";
    if (stolenBy !== null) return this.#sessions.recovering ? "RECOVERING" : null;
    if (free) return null;
    if (wanted.some(isMismatch)) return "PERMITS_MISMATCH";
    if (waitMs === 0) return this.#sessions.recovering ? "RECOVERING" : "LOCK_TIMEOUT";
    if (wanted.some(({ lock }) => lock.waiterCount >= this.#options.waitersMax)) return "QUEUE_FULL";
    if (this.#options.isFull?.("waiters") === true) return "LIMIT_EXCEEDED";
    return null;
  }
}

/** True for a request of a session that is coming back, behind one of its own for the same lock: that one is first. */
function isBehindItself(session: Session | null, wanted: readonly LockAndMode[], waitMs: number): boolean {
  if (session?.syncing !== true || session.waiters.size === 0 || waitMs === 0) return false;
  return wanted.some(({ lock }) => lock.waiterCount > 0);
}

/** Who asks for another number of permits than those have in mind who hold it (Q4). */
function isMismatch({ lock, mode }: LockAndMode): boolean {
  return lock.mode !== null && lock.mode.permits !== mode.permits;
}
