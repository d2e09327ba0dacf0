import type { ServerMessage } from "lockdb/protocol";
import { keepAnswer } from "./answers.js";
import type { About, Command, Effects, NamedCommand } from "./commands.js";
import { noteHold } from "./events.js";
import type { Grants } from "./grants.js";
import { lockInfo } from "./inspect.js";
import { type Listing, Listings } from "./listings.js";
import type { Lock } from "./lock.js";
import { EXCLUSIVE } from "./modes.js";
import type { Postponed } from "./postponed.js";
import type { Repeats } from "./repeats.js";
import { refusal, refusalOfLock, refuse, tell } from "./replies.js";
import type { Sessions } from "./sessions.js";
import type { Hold, Session } from "./state.js";

type Of<K extends Command["kind"]> = Extract<Command, { kind: K }>;

/** What sessions and HTTP callers ask for besides locks: their release, and what is going on. */
export class Requests {
  readonly #grants: Grants;
  readonly #sessions: Sessions;
  readonly #postponed: Postponed;
  readonly #repeats: Repeats;
  readonly #listings: Listings;

  constructor(grants: Grants, sessions: Sessions, postponed: Postponed, repeats: Repeats) {
    this.#grants = grants;
    this.#sessions = sessions;
    this.#postponed = postponed;
    this.#repeats = repeats;
    this.#listings = new Listings(grants.table.locks, grants.previous, grants.table.deadlines);
  }

  release(command: Of<"release">, nowMs: number, out: Effects): void {
    const hold = this.#holdToEnd(command, command.name, nowMs, out);
    if (hold === null) return;
    const { session } = hold;
    if (session === null) this.#keepDurable(command, command.token, nowMs, out);
    this.#grants.letGo(hold, nowMs, out);
    if (session === null) return this.#done(command, command.token, nowMs, out);
    this.#grants.settle(session, command, command.token, ["done", command.id, true], nowMs, out);
  }

  /** Its holder has lost it, and says so: only a session's own hold can be lost so. */
  abandon(command: Of<"abandon">, nowMs: number, out: Effects): void {
    const hold = this.#holdToEnd(command, null, nowMs, out);
    if (hold === null) return;
    this.#grants.abandon(hold, nowMs, out);
    this.#done(command, command.token, nowMs, out);
  }

  /** Frees what somebody else holds. Its holder is told, now or when it returns (R3); the act is recorded (A7). */
  force(command: Of<"force">, nowMs: number, out: Effects): void {
    const { id, name, token, reason, who } = command;
    const about = `\nforce ${token}`;
    const session = this.#sessions.live(command, nowMs);
    if (command.session !== null) {
      if (session === null) return refuse(command, "SESSION_ENDED", out);
      if (this.#repeats.answered(session, id, about, this.#repeats.isNew(session, id), command.address, out))
        return;
    }
    const lock = this.#grants.table.locks.get(name);
    const hold = this.#grants.table.holds.get(token);
    const isThere = hold?.grips.some((grip) => grip.lock === lock) === true;
    if (!isThere && this.#sessions.recovering) {
      return this.#grants.settle(session, command, about, refusal(id, "RECOVERING"), nowMs, out);
    }
    if (hold === undefined || !isThere) {
      const message = refusalOfLock(
        id,
        "NOT_HELD",
        [{ lock }],
        nowMs,
        "The lock has no hold with this token now.",
      );
      return this.#grants.settle(session, command, about, message, nowMs, out);
    }
    this.#sessions.forced(hold, { who, name, reason }, out);
    this.#keepDurable(command, about, nowMs, out);
    this.#grants.force(hold, reason, nowMs, out);
    this.#done(command, about, nowMs, out);
  }

  /** Tells a holder that somebody wants a hold back, now or when it speaks of it next. The hold stays as it is. */
  ask(command: Of<"ask">, nowMs: number, out: Effects): void {
    const { id, address, name, token, reason } = command;
    const { table } = this.#grants;
    const lock = table.locks.get(name);
    const hold = table.holds.get(token);
    const isThere = hold?.grips.some((grip) => grip.lock === lock) === true && !hold.remainder;
    if (hold === undefined || !isThere) {
      if (this.#sessions.recovering) return refuse(command, "RECOVERING", out);
      const text = "The lock has no hold with this token now.";
      out.answers.push({ to: address, message: refusalOfLock(id, "NOT_HELD", [{ lock }], nowMs, text) });
      return;
    }
    hold.askedFor = reason;
    noteHold(out, "asked", hold, { reason });
    const { session } = hold;
    const isTold = session !== null && session.address !== null;
    if (session !== null) tell(session, ["asked", token, reason], out);
    out.answers.push({ to: address, message: ["done", id, { told: isTold }] });
  }

  settings(command: Of<"settings">, out: Effects): void {
    const { change, who } = command;
    if (change !== null) {
      this.#grants.settings = change;
      this.#sessions.delayChanged();
      out.changes.push({ type: "settings", id: "", value: change });
      out.changes.push({
        type: "audit",
        id: "",
        value: { who, what: "settings changed", details: { ...change } },
      });
    }
    out.answers.push({ to: command.address, message: ["done", command.id, this.#grants.settings] });
  }

  named(command: NamedCommand, nowMs: number, out: Effects): void {
    const session = this.#sessions.live(command, nowMs);
    if (command.session !== null) {
      if (session === null) return refuse(command, "SESSION_ENDED", out);
      if (command.kind === "unlock" && this.#repeatedUnlock(session, command, out)) return;
    }
    this.#answerNamed(session, command, nowMs, out);
  }

  inspect(command: Of<"inspect">, nowMs: number, out: Effects): void {
    if (command.session !== null && this.#sessions.live(command, nowMs) === null)
      return refuse(command, "SESSION_ENDED", out);
    const { name, token } = command;
    const { table, previous } = this.#grants;
    const first = token === undefined ? undefined : table.holds.get(token);
    const info = lockInfo(name, table.locks.get(name), previous.of(name), this.#sessions.recovering, nowMs, {
      first,
    });
    out.answers.push({ to: command.address, message: ["done", command.id, info] });
  }

  list(command: Of<"list">, nowMs: number, out: Effects): void {
    if (command.session !== null && this.#sessions.live(command, nowMs) === null)
      return refuse(command, "SESSION_ENDED", out);
    const { id, session, address, query } = command;
    const page = this.#listings.page(query, session ?? address, this.#sessions.recovering, nowMs);
    if (page === "RATE_LIMITED") return refuse(command, page, out);
    const over = "This list is over, or was left alone for a minute. Begin anew.";
    const message: ServerMessage = page === "NOT_FOUND" ? refusal(id, page, over) : ["done", id, page];
    out.answers.push({ to: address, message });
  }

  /** Nobody has gone on with a list for a minute. */
  forgetListing(listing: Listing): void {
    this.#listings.forget(listing);
  }

  /**
   * Takes a request back: its place in the queue, or its grant, which nobody has used (Q7). With a token: the grant that
   * the client has heard of, and gives back as if it had never been.
   */
  cancel(command: Of<"cancel">, nowMs: number, out: Effects): void {
    const { id, address, token } = command;
    const session = this.#sessions.live(command, nowMs);
    if (command.session !== null && session === null) return refuse(command, "SESSION_ENDED", out);
    const caller = session === null ? this.#grants.callers.get(address) : undefined;
    const waiter = session === null ? caller?.waiter : session.waiters.get(id);
    const made = session === null ? caller?.hold : this.#repeats.holdMadeBy(session, id, token);
    // What remains of a hold is no grant any more: its lock stays closed for its time (L7, L8).
    const hold = made?.remainder ? null : made;
    if (waiter != null) this.#grants.drop([waiter], "cancelled", nowMs, out);
    else if (hold != null) {
      // As if it had never been: its grant is not told again.
      if (hold.isByRequest) this.#grants.table.forgetRequest(hold);
      this.#grants.takeBack(hold, nowMs, out);
    }
    this.#grants.callers.delete(address);
    session?.answers.delete(id);
    session?.answersBefore?.delete(id);
    this.#postponed.dropOne(command);
    out.answers.push({ to: address, message: ["done", id, waiter != null || hold != null] });
  }

  delivered(address: string): void {
    const caller = this.#grants.callers.get(address);
    if (caller?.hold != null) caller.hold.caller = null;
    this.#grants.callers.delete(address);
  }

  /** Answers what was postponed. No message came with it, so it renews no session. */
  answerPostponed(nowMs: number, out: Effects): void {
    for (const command of this.#postponed.takeAll()) {
      const session = command.session === null ? null : (this.#sessions.get(command.session) ?? null);
      this.#answerNamed(session, command, nowMs, out);
    }
  }

  /** The hold that a request may end: its session's own, or a detached one. Null when the request is answered already. */
  #holdToEnd(
    command: Of<"release"> | Of<"abandon">,
    name: string | null,
    nowMs: number,
    out: Effects,
  ): Hold | null {
    const { id, token } = command;
    const session = this.#sessions.live(command, nowMs);
    const hold = this.#grants.table.holds.get(token);
    if (command.session !== null) {
      if (session === null) {
        refuse(command, "SESSION_ENDED", out);
        return null;
      }
      const isNew = this.#repeats.isNew(session, id);
      const isPlain = isNew && hold?.session === session;
      if (!isPlain && this.#repeats.answered(session, id, token, isNew, command.address, out)) return null;
    }
    const isOwn = hold !== undefined && hold.session === session && session !== null;
    const isFree =
      hold !== undefined && hold.session === null && !hold.remainder && command.kind === "release";
    if (hold !== undefined && (isOwn || isFree) && (name === null || hasName(hold, name))) return hold;
    this.#grants.settle(session, command, token, refusal(id, "NOT_HELD"), nowMs, out);
    return null;
  }

  #answerNamed(session: Session | null, command: NamedCommand, nowMs: number, out: Effects): void {
    const { kind, id, name } = command;
    const lock = this.#grants.table.locks.get(name);
    const hold = lock?.hold ?? null;
    // Others may have it together with those who are known.
    const isKnown = hold !== null && (kind === "check" || lock!.mode === EXCLUSIVE);
    if (!isKnown && this.#sessions.recovering) {
      // It has had no effect: if its connection is lost and it comes again, it is no repetition.
      if (session !== null && kind === "unlock") {
        keepAnswer(session, id, { message: null, about: `\nunlock ${name}`, atMs: nowMs });
      }
      return this.#postponed.add(command, nowMs, out);
    }
    if (kind === "check") {
      out.answers.push({ to: command.address, message: ["done", id, hold !== null] });
      return;
    }
    if (hold === null) {
      return this.#grants.settle(session, command, `\nunlock ${name}`, ["done", id, false], nowMs, out);
    }
    const message = unlockRefusal(lock!, hold);
    if (message !== null) {
      return this.#grants.settle(
        session,
        command,
        `\nunlock ${name}`,
        refusal(id, "NOT_HELD", message),
        nowMs,
        out,
      );
    }
    this.#keepDurable(command, `\nunlock ${name}`, nowMs, out);
    this.#grants.letGo(hold, nowMs, out);
    this.#done(command, `\nunlock ${name}`, nowMs, out);
  }

  #repeatedUnlock(session: Session, command: NamedCommand, out: Effects): boolean {
    const isNew = this.#repeats.isNew(session, command.id);
    if (!isNew && this.#postponed.has(command)) return true;
    return this.#repeats.answered(
      session,
      command.id,
      `\nunlock ${command.name}`,
      isNew,
      command.address,
      out,
    );
  }

  /** After a crash, too, this change must not happen again (Q6). */
  #keepDurable(
    command: { readonly session: string | null; readonly id: number },
    about: About,
    nowMs: number,
    out: Effects,
  ): void {
    const session = command.session === null ? null : this.#sessions.get(command.session);
    this.#repeats.keepDurable(session, command.id, about, nowMs, out);
  }

  #done(
    command: { session: string | null; id: number; address: string },
    about: About,
    nowMs: number,
    out: Effects,
  ): void {
    const session = command.session === null ? null : (this.#sessions.get(command.session) ?? null);
    this.#grants.settle(session, command, about, ["done", command.id, true], nowMs, out);
  }
}

function hasName(hold: Hold, name: string): boolean {
  return hold.grips.some(({ lock }) => lock.name === name);
}

/** Why a lock cannot be unlocked by its name, or null (L9). */
function unlockRefusal(lock: Lock, hold: Hold): string | null {
  if (lock.firstGrip!.nextOfLock !== null) {
    return "Several hold the lock, so its name does not say which hold to end. Release one by its token.";
  }
  if (hold.remainder) {
    return "The lock is closed for the rest of a minimum hold or a lock delay. Wait until it ends.";
  }
  if (hold.session !== null) {
    return `The lock is held by a session (${hold.owner}). It ends when that session releases it or runs out.`;
  }
  if (hold.leaseMs !== null) {
    return `The lock is held under a lease (${hold.owner}). It ends when its holder releases it by its token, or runs out.`;
  }
  if (hold.nextOfHold !== null) return "The lock is part of a set. Release the set by its token.";
  return null;
}
