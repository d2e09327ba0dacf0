import { type ErrorCode, LIMITS, type ServerMessage } from "lockdb/protocol";
import { keepAnswer, replaceAnswer } from "./answers.js";
import type { AcquireCommand, Command, Effects, EngineOptions, NamedCommand } from "./commands.js";
import type { Grants } from "./grants.js";
import { lockInfo } from "./inspect.js";
import { type Requester, requestKey } from "./lock-table.js";
import type { Postponed } from "./postponed.js";
import { forcedMessage, grantedMessage, refusal, refusalOfLock, refuse, tell } from "./replies.js";
import type { Sessions } from "./sessions.js";
import { type Caller, Hold, type Lock, type Session } from "./state.js";

type Of<K extends Command["kind"]> = Extract<Command, { kind: K }>;

/** What sessions and HTTP callers ask for: locks, their release, and what is going on. */
export class Requests {
  readonly #options: EngineOptions;
  readonly #grants: Grants;
  readonly #sessions: Sessions;
  readonly #postponed: Postponed;

  constructor(options: EngineOptions, grants: Grants, sessions: Sessions, postponed: Postponed) {
    this.#options = options;
    this.#grants = grants;
    this.#sessions = sessions;
    this.#postponed = postponed;
  }

  acquire(command: AcquireCommand, nowMs: number, out: Effects): void {
    const { id, name, waitMs } = command;
    const session = this.#sessions.live(command, nowMs);
    if (command.session !== null) {
      if (session === null) return refuse(command, "SESSION_ENDED", out);
      if (this.#answeredBefore(session, command, out)) return;
    }
    const table = this.#grants.table;
    const held = table.locks.get(name);
    const free =
      table.granting && (held === undefined || held.hold === null) && !isBehindItself(session, held, waitMs);
    const code = this.#acquireRefusal(session, held, free, command);
    if (code !== null) {
      const message = refusalOfLock(id, code, held, nowMs);
      return this.#grants.settle(session, command, name, message, nowMs, out);
    }
    const caller: Caller | null = session === null ? this.#caller(command.address) : null;
    const from: Requester = { session, caller, id, owner: session?.owner ?? command.owner ?? "http" };
    const lock = table.lockNamed(name);
    if (free) {
      const message = this.#grants.grant(lock, from, command, null, nowMs, out);
      return this.#grants.settle(session, command, name, message, nowMs, out);
    }
    const isBelieved = session?.restored && session.syncing && command.ticket !== null;
    const believed = isBelieved && command.ticket < table.ceilings.tickets;
    const ahead = lock.waiterCount;
    const waiter = table.enqueue(lock, from, command, waitMs, believed ? command.ticket : null, nowMs, out);
    out.answers.push({ to: command.address, message: ["queued", id, waiter.ticket, ahead] });
  }

  release(command: Of<"release">, nowMs: number, out: Effects): void {
    const hold = this.#holdToEnd(command, command.name, nowMs, out);
    if (hold === null) return;
    const { session } = hold;
    if (session === null) this.#keepDurableAnswer(command, `release ${command.token}`, nowMs, out);
    this.#grants.letGo(hold, nowMs, out);
    this.#done(command, `release ${command.token}`, nowMs, out);
  }

  /** Its holder has lost it, and says so: only a session's own hold can be lost so. */
  abandon(command: Of<"abandon">, nowMs: number, out: Effects): void {
    const hold = this.#holdToEnd(command, null, nowMs, out);
    if (hold === null) return;
    this.#grants.abandon(hold, nowMs, out);
    this.#done(command, `release ${command.token}`, nowMs, out);
  }

  /** Frees what somebody else holds. Its holder is told, now or when it returns (R3); the act is recorded (A7). */
  force(command: Of<"force">, nowMs: number, out: Effects): void {
    const { id, name, token, reason, who } = command;
    const about = `force ${token}`;
    const session = this.#sessions.live(command, nowMs);
    if (command.session !== null) {
      if (session === null) return refuse(command, "SESSION_ENDED", out);
      if (this.#repeated(session, id, about, this.#isNew(session, id), command.address, out)) return;
    }
    const lock = this.#grants.table.locks.get(name);
    const hold = lock?.hold ?? null;
    if (hold === null && this.#sessions.recovering) {
      return this.#grants.settle(session, command, about, refusal(id, "RECOVERING"), nowMs, out);
    }
    if (hold === null || hold.token !== token) {
      const message = refusalOfLock(id, "NOT_HELD", lock, nowMs, "The lock has no hold with this token now.");
      return this.#grants.settle(session, command, about, message, nowMs, out);
    }
    const details = { name, token, holder: hold.owner, reason };
    out.changes.push({ type: "audit", id: "", value: { who, what: "force release", details } });
    if (hold.session !== null) {
      this.#sessions.revoke(hold.session, token, out);
      tell(hold.session, ["lost", token, "force"], out);
      // It may not have heard of the grant. Told when it asks again, that would bring the hold back to life.
      replaceAnswer(hold.session, hold.requestId, forcedMessage(hold.requestId));
    }
    this.#keepDurableAnswer(command, about, nowMs, out);
    this.#grants.force(hold, nowMs, out);
    this.#done(command, about, nowMs, out);
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
    const info = lockInfo(
      command.name,
      this.#grants.table.locks.get(command.name),
      this.#grants.previous.of(command.name),
      this.#sessions.recovering,
      nowMs,
    );
    out.answers.push({ to: command.address, message: ["done", command.id, info] });
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
    const made = session === null ? caller?.hold : this.#holdMadeBy(session, id, token);
    // What remains of a hold is no grant any more: its lock stays closed for its time (L7, L8).
    const hold = made?.remainder ? null : made;
    if (waiter != null) this.#grants.table.dequeue(waiter);
    else if (hold != null) this.#grants.takeBack(hold, nowMs, out);
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
    const about = `release ${token}`;
    const session = this.#sessions.live(command, nowMs);
    const hold = this.#grants.table.holds.get(token);
    if (command.session !== null) {
      if (session === null) {
        refuse(command, "SESSION_ENDED", out);
        return null;
      }
      const isNew = this.#isNew(session, id);
      const isPlain = isNew && hold?.session === session;
      if (!isPlain && this.#repeated(session, id, about, isNew, command.address, out)) return null;
    }
    const isOwn = hold !== undefined && hold.session === session && session !== null;
    const isFree =
      hold !== undefined && hold.session === null && !hold.remainder && command.kind === "release";
    if (hold !== undefined && (isOwn || isFree) && (name === null || name === hold.lock.name)) return hold;
    this.#grants.settle(session, command, about, refusal(id, "NOT_HELD"), nowMs, out);
    return null;
  }

  /** A session's ids rise: one that is not the highest was seen before. */
  #isNew(session: Session, id: number): boolean {
    if (id <= session.idMax) return false;
    session.idMax = id;
    return true;
  }

  #answerNamed(session: Session | null, command: NamedCommand, nowMs: number, out: Effects): void {
    const { kind, id, name } = command;
    const hold = this.#grants.table.locks.get(name)?.hold ?? null;
    if (hold === null && this.#sessions.recovering) {
      // It has had no effect: if its connection is lost and it comes again, it is no repetition.
      if (session !== null && kind === "unlock") {
        keepAnswer(session, id, { message: null, about: `unlock ${name}`, atMs: nowMs });
      }
      return this.#postponed.add(command, nowMs, out);
    }
    if (kind === "check") {
      out.answers.push({ to: command.address, message: ["done", id, hold !== null] });
      return;
    }
    if (hold === null) {
      return this.#grants.settle(session, command, `unlock ${name}`, ["done", id, false], nowMs, out);
    }
    if (hold.session !== null || hold.remainder) {
      const message = hold.remainder
        ? "The lock is closed for the rest of a minimum hold or a lock delay. Wait until it ends."
        : `The lock is held by a session (${hold.owner}). It ends when that session releases it or runs out.`;
      return this.#grants.settle(
        session,
        command,
        `unlock ${name}`,
        refusal(id, "NOT_HELD", message),
        nowMs,
        out,
      );
    }
    this.#keepDurableAnswer(command, `unlock ${name}`, nowMs, out);
    this.#grants.letGo(hold, nowMs, out);
    this.#done(command, `unlock ${name}`, nowMs, out);
  }

  #acquireRefusal(
    session: Session | null,
    lock: Lock | undefined,
    free: boolean,
    { waitMs, detachedMs, minHoldMs }: AcquireCommand,
  ): ErrorCode | null {
    const { table, settings } = this.#grants;
    // All that may outlive its session.
    const mayRemain = detachedMs !== null || minHoldMs > 0 || settings.lockDelayMs > 0;
    if (mayRemain && table.detachedCount >= this.#options.holdsMax) return "LIMIT_EXCEEDED";
    if (detachedMs !== null && table.keptCount >= LIMITS.answersMax) return "LIMIT_EXCEEDED";
    if (session !== null && session.holdCount + session.waiters.size >= this.#options.holdsMax)
      return "LIMIT_EXCEEDED";
    if (session !== null && session.answers.size >= LIMITS.answersMax) return "LIMIT_EXCEEDED";
    if (free) return null;
    if (waitMs === 0) return this.#sessions.recovering ? "RECOVERING" : "LOCK_TIMEOUT";
    if (lock !== undefined && lock.waiterCount >= this.#options.waitersMax) return "QUEUE_FULL";
    return null;
  }

  /** True when this request was seen before: it has no second effect, and gets the same answer (Q6). */
  #answeredBefore(session: Session, command: AcquireCommand, out: Effects): boolean {
    const { id, name, address } = command;
    const isNew = this.#isNew(session, id);
    // A client's ids rise over all its sessions, but after a restart it is not known how far they have come.
    if (isNew && command.detachedMs === null && !session.restored) return false;
    const waiter = session.waiters.get(id);
    if (waiter !== undefined && waiter.lock.name === name) {
      waiter.seenOn = session.connection;
      out.answers.push({ to: address, message: ["queued", id, waiter.ticket, 0] });
      return true;
    }
    return this.#repeated(session, id, name, isNew, address, out);
  }

  /** Gives the stored answer again, or refuses an id that was used for something else. */
  #repeated(
    session: Session,
    id: number,
    about: string,
    isNew: boolean,
    address: string,
    out: Effects,
  ): boolean {
    const stored = session.answers.get(id) ?? session.answersBefore?.get(id);
    const made = this.#grants.table.requests.get(requestKey(session.client, id));
    if (stored === undefined && made === undefined) {
      if (isNew) return false;
      out.answers.push({ to: address, message: refusal(id, "REQUEST_ID_REUSED") });
      return true;
    }
    const madeAbout = made instanceof Hold ? made.lock.name : made?.about;
    if ((stored?.about ?? madeAbout) !== about) {
      out.answers.push({ to: address, message: refusal(id, "REQUEST_ID_REUSED") });
      return true;
    }
    if (stored?.message === null) return false;
    // What is kept of a durable request is newer: its hold may have been freed by force since.
    const ofHold = stored?.message ?? (made instanceof Hold ? this.#grantedAgain(id, made) : undefined);
    const message = made !== undefined && !(made instanceof Hold) ? made.message : ofHold!;
    if (message[0] === "granted") {
      const hold = this.#grants.table.holds.get(message[2]);
      if (hold?.session === session) hold.seenOn = session.connection;
    }
    if (stored !== undefined) session.answers.set(id, stored);
    out.answers.push({ to: address, message });
    return true;
  }

  #repeatedUnlock(session: Session, command: NamedCommand, out: Effects): boolean {
    const isNew = this.#isNew(session, command.id);
    if (!isNew && this.#postponed.has(command)) return true;
    return this.#repeated(session, command.id, `unlock ${command.name}`, isNew, command.address, out);
  }

  /** @param token of a grant that was heard of, so that its answer is not kept any more */
  #holdMadeBy(session: Session, id: number, token: number | null): Hold | null {
    const { holds, requests } = this.#grants.table;
    const made = requests.get(requestKey(session.client, id));
    if (made instanceof Hold) return made;
    const stored = (session.answers.get(id) ?? session.answersBefore?.get(id))?.message;
    const granted = stored?.[0] === "granted" ? stored[2] : token;
    const hold = granted === null ? undefined : holds.get(granted);
    return hold?.session === session ? hold : null;
  }

  #grantedAgain(id: number, hold: Hold): ServerMessage {
    return grantedMessage(id, hold.token, null, this.#grants.previous.of(hold.lock.name));
  }

  #caller(address: string): Caller {
    const caller: Caller = { address, waiter: null, hold: null };
    this.#grants.callers.set(address, caller);
    return caller;
  }

  /** The answer of a change that outlives a crash: asked again after one, it must not happen again (Q6). */
  #keepDurableAnswer(
    command: { session: string | null; id: number },
    about: string,
    nowMs: number,
    out: Effects,
  ) {
    const session = command.session === null ? undefined : this.#sessions.get(command.session);
    if (session === undefined) return;
    const { id } = command;
    this.#grants.table.keepAnswer(requestKey(session.client, id), ["done", id, true], about, nowMs, out);
  }

  #done(
    command: { session: string | null; id: number; address: string },
    about: string,
    nowMs: number,
    out: Effects,
  ): void {
    const session = command.session === null ? null : (this.#sessions.get(command.session) ?? null);
    this.#grants.settle(session, command, about, ["done", command.id, true], nowMs, out);
  }
}

/** True for a request of a session that is coming back, behind one of its own for the same lock: that one is first. */
function isBehindItself(session: Session | null, lock: Lock | undefined, waitMs: number): boolean {
  return session?.syncing === true && session.waiters.size > 0 && waitMs > 0 && (lock?.waiterCount ?? 0) > 0;
}
