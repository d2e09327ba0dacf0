import { Acquire } from "./acquire.js";
import { Calls } from "./calls.js";
import type { Command, DurableChange, Effects, EngineOptions } from "./commands.js";
import { Survey } from "./contention.js";
import { Grants } from "./grants.js";
import type { DurableRecord, ManyRecords } from "./packed-holds.js";
import { Postponed } from "./postponed.js";
import { Repeats } from "./repeats.js";
import { refusalOfLock, tell } from "./replies.js";
import { Requests } from "./requests.js";
import { PACKED_MIN, restoring, stopRecords } from "./restore.js";
import { Sessions } from "./sessions.js";
import { Slices } from "./slices.js";
import { type SlowWait, takeSlowWaits } from "./slow-waits.js";
import type { Waiter } from "./state.js";
import { type Tally, Totals } from "./totals.js";

/**
 * The rules for one service: sessions, locks, holds, queues, recovery. Pure: it reads no clock and does no I/O, and
 * equal commands at equal times give equal effects, on every machine, for ever. `nowMs` is the lease clock (L3, R6).
 */
export class Engine {
  readonly #options: EngineOptions;
  readonly #grants: Grants;
  readonly #postponed: Postponed;
  readonly #sessions: Sessions;
  readonly #acquire: Acquire;
  readonly #calls: Calls;
  readonly #requests: Requests;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#grants = new Grants(options, options.totals ?? new Totals());
    this.#postponed = new Postponed(this.#grants.table.deadlines, options.waitersMax);
    this.#sessions = new Sessions(options, this.#grants, this.#postponed, (nowMs, out) => {
      // First what was asked of the locks as they were: an old unlock by name must not free the next holder.
      this.#requests.answerPostponed(nowMs, out);
      this.#grants.open(nowMs, out);
    });
    const repeats = new Repeats(this.#grants);
    this.#acquire = new Acquire(options, this.#grants, this.#sessions, repeats);
    this.#calls = new Calls(options, this.#grants, this.#sessions, this.#acquire);
    this.#requests = new Requests(this.#grants, this.#sessions, this.#postponed, repeats);
  }

  /** True while sessions from before an unclean start are not back (R4). */
  get recovering(): boolean {
    return this.#sessions.recovering;
  }

  /** When `tick` is due next on the lease clock; Infinity when nothing runs on it. */
  get nextDeadlineMs(): number {
    return this.#grants.table.nextDueMs;
  }

  /** What is in memory. `nested`: requests that are made inside holds, and wait. */
  get counts(): Readonly<Record<"sessions" | "holds" | "locks" | "waiters" | "nested", number>> {
    const { holds, locks, nested, waiterCount } = this.#grants.table;
    const counts = { holds: holds.size, locks: locks.size, waiters: waiterCount, nested: nested.size };
    return { sessions: this.#sessions.size, ...counts };
  }

  /** What has happened since this engine was made. */
  get tally(): Readonly<Tally> {
    return this.#grants.table.tally;
  }

  /**
   * Requests that have waited for `slowMs` by now, each told once. Changes nothing else.
   * @param shownMax how many are described; the others are only counted
   */
  takeSlowWaits(
    asked: { readonly slowMs: number; readonly shownMax: number },
    nowMs: number,
  ): { readonly count: number; readonly shown: readonly SlowWait[] } {
    return takeSlowWaits(this.#grants.table.arrivals, asked, nowMs);
  }

  /** A look at where it is crowded, step by step. */
  survey(): Survey {
    return new Survey(this.#grants.table, this.#grants.previous);
  }

  /** Applies one command, and adds what comes of it to `out`. */
  apply(command: Command, nowMs: number, out: Effects): void {
    switch (command.kind) {
      case "acquire":
        return this.#acquire.apply(command, nowMs, out);
      case "release":
        return this.#requests.release(command, nowMs, out);
      case "abandon":
        return this.#requests.abandon(command, nowMs, out);
      case "force":
        return this.#requests.force(command, nowMs, out);
      case "settings":
        return this.#requests.settings(command, out);
      case "check":
      case "unlock":
        return this.#requests.named(command, nowMs, out);
      case "inspect":
        return this.#requests.inspect(command, nowMs, out);
      case "list":
        return this.#requests.list(command, nowMs, out);
      case "sessions":
        return this.#sessions.list(command, nowMs, out);
      case "ask":
        return this.#requests.ask(command, nowMs, out);
      case "cancel":
        return this.#requests.cancel(command, nowMs, out);
      case "delivered":
        return this.#requests.delivered(command.address);
      case "call":
        return this.#calls.call(command, nowMs, out);
      case "leave":
        return this.#calls.leave(command, nowMs, out);
      case "renew":
        return this.#calls.renew(command, nowMs, out);
      case "giveBack":
        return this.#calls.giveBack(command, nowMs, out);
      case "openSession":
        return this.#sessions.openHttp(command, nowMs, out);
      case "keepSession":
        return this.#sessions.keepHttp(command, nowMs, out);
      case "endSession":
        return this.#sessions.endHttp(command, nowMs, out);
      case "hello":
        return this.#sessions.hello(command, nowMs, out);
      case "claim":
        return this.#sessions.claim(command, nowMs, out);
      case "sync":
        return this.#sessions.sync(command, nowMs, out);
      case "heartbeat":
        return this.#sessions.heartbeat(command, nowMs, out);
      case "acknowledge":
        return this.#sessions.acknowledge(command, nowMs, out);
      case "disconnect":
        return this.#sessions.disconnect(command, nowMs, out);
      case "bye":
        return this.#sessions.bye(command, nowMs, out);
      case "tick":
        return this.#tick(nowMs, out);
    }
  }

  /**
   * Takes up what an earlier process made durable. What this adds to `out.changes` must be durable before anything is
   * answered (R5, R6).
   * @param holds records beside the others, of which there may be a million; they must not change until each is let go
   */
  restore(
    records: readonly DurableRecord[],
    nowMs: number,
    out: Effects,
    holds: ManyRecords | null = null,
  ): void {
    for (const _ of this.restoring(records, nowMs, out, holds, new Slices()));
  }

  /** The same, a slice with each step. Nothing may be asked of it, and `out` is not to be looked at, before it has come to its end. */
  restoring(
    records: readonly DurableRecord[],
    nowMs: number,
    out: Effects,
    holds: ManyRecords | null,
    slices: Slices,
  ): Iterable<void> {
    const { writesSessionHolds, packedMin = PACKED_MIN } = this.#options;
    const stored = { records, holds, packedMin, writesSessionHolds, slices };
    return restoring(stored, this.#sessions, this.#grants, nowMs, out);
  }

  /** Its tokens and tickets begin there, or above: nothing was applied or restored yet (F3). */
  startAbove(tokens: number, tickets: number): void {
    this.#grants.table.startAbove(tokens, tickets);
  }

  /** Makes the next numbers durable ahead, so that whoever comes back soon, and wants a lock, waits for no commit of its own (F2). */
  reserve(out: Effects): void {
    if (this.#sessions.size > 0) this.#grants.table.reserve(out);
  }

  /** The records of a clean stop (R5). Nothing may be applied or answered after this. */
  stop(): readonly DurableChange[] {
    const all = Number.POSITIVE_INFINITY;
    return this.stopping(all, new Slices(all)).next().value!;
  }

  /** The same, a slice with each step. Null: it would be more than so many. */
  *stopping(max: number, slices: Slices): Generator<void, readonly DurableChange[] | null, undefined> {
    const awaited = this.#sessions.awaitedRecords();
    const changes = yield* stopRecords(this.#grants.table, max - awaited.length, slices);
    return changes === null ? null : [...changes, ...awaited];
  }

  #timeOut(waiter: Waiter, nowMs: number, out: Effects): void {
    const message = refusalOfLock(waiter.id, "LOCK_TIMEOUT", waiter.places, nowMs);
    this.#grants.drop([waiter], "timed out", nowMs, out);
    this.#grants.settleWaiter(waiter, message, nowMs, out);
  }

  #tick(nowMs: number, out: Effects): void {
    const { table } = this.#grants;
    for (let ending = table.takeDue(nowMs); ending !== undefined; ending = table.takeDue(nowMs)) {
      switch (ending.kind) {
        case "session":
          this.#sessions.due(ending, nowMs, out);
          break;
        case "hold":
          if (ending.session !== null) tell(ending.session, ["lost", ending.token, "expiry"], out);
          this.#grants.expire(ending, nowMs, out);
          break;
        case "waiter":
          this.#timeOut(ending, nowMs, out);
          break;
        case "pending":
          this.#postponed.expire(ending, out);
          break;
        case "ended":
          this.#sessions.forgetEnded(ending);
          break;
        case "deadlocks":
          this.#grants.breakDeadlocks([...this.#grants.table.nested], nowMs, out);
          break;
        case "listing":
          this.#requests.forgetListing(ending);
          break;
        case "call":
          this.#calls.due(ending, nowMs, out);
          break;
        case "answer":
          this.#grants.table.forgetAnswer(ending, out);
          break;
      }
    }
  }
}
