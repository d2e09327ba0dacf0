import type { ServerMessage } from "lockdb/protocol";
import type { About, AcquireCommand, Effects } from "./commands.js";
import type { Grants } from "./grants.js";
import { aboutHold, aboutWaiter, requestKey } from "./lock-table.js";
import { grantedMessage, refusal } from "./replies.js";
import { Hold, type Session } from "./state.js";

/** Requests that come again: they have no second effect, and get the same answer (Q6). */
export class Repeats {
  readonly #grants: Grants;

  constructor(grants: Grants) {
    this.#grants = grants;
  }

  /** A session's ids rise: one that is not the highest was seen before. */
  isNew(session: Session, id: number): boolean {
    if (id <= session.idMax) return false;
    session.idMax = id;
    return true;
  }

  /** True when this request for locks was seen before, and is answered. */
  answeredAcquire(session: Session, command: AcquireCommand, about: About, out: Effects): boolean {
    const { id, address } = command;
    const isNew = this.isNew(session, id);
    // A client's ids rise over all its sessions, but after a restart it is not known how far they have come.
    if (isNew && command.detachedMs === null && !session.restored) return false;
    const waiter = session.waiters.get(id);
    if (waiter !== undefined && aboutWaiter(waiter) === about) {
      waiter.seenOn = session.connection;
      out.answers.push({ to: address, message: ["queued", id, waiter.ticket, 0] });
      return true;
    }
    return this.answered(session, id, about, isNew, address, out);
  }

  /** Gives the stored answer again, or refuses an id that was used for something else. False: there is none. */
  answered(
    session: Session,
    id: number,
    about: About,
    isNew: boolean,
    address: string,
    out: Effects,
  ): boolean {
    const stored = session.answers.get(id) ?? session.answersBefore?.get(id);
    const made = this.#grants.table.madeBy(requestKey(session.client, id));
    if (stored === undefined && made === undefined) {
      if (isNew) return false;
      out.answers.push({ to: address, message: refusal(id, "REQUEST_ID_REUSED") });
      return true;
    }
    const madeAbout = made instanceof Hold ? aboutHold(made) : made?.about;
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

  /** True for a request that was granted again what a hold around it had: it has made none (D3). */
  hasEntered(session: Session, id: number): boolean {
    return (session.answers.get(id) ?? session.answersBefore?.get(id))?.message === null;
  }

  /** @param token of a grant that was heard of, so that its answer is not kept any more */
  holdMadeBy(session: Session, id: number, token: number | null): Hold | null {
    const { table } = this.#grants;
    const { holds } = table;
    const made = table.madeBy(requestKey(session.client, id));
    if (made instanceof Hold) return made;
    if (this.hasEntered(session, id)) return null;
    const stored = (session.answers.get(id) ?? session.answersBefore?.get(id))?.message;
    const granted = stored?.[0] === "granted" ? stored[2] : token;
    const hold = granted === null ? undefined : holds.get(granted);
    if (hold === undefined) return null;
    // A detached one, too, whose grant is acknowledged is no longer found by its request.
    if (hold.session === null) return hold.client === session.client && hold.requestId === id ? hold : null;
    // What was granted again inside another hold is not this request's own to take back (D3). After a crash it is not
    // known which request made a hold.
    return hold.session === session && (hold.requestId === id || hold.requestId === 0) ? hold : null;
  }

  /** The answer of a change that outlives a crash: asked again after one, it must not happen again. */
  keepDurable(
    session: Session | null | undefined,
    id: number,
    about: About,
    nowMs: number,
    out: Effects,
  ): void {
    if (session == null) return;
    this.#grants.table.keepAnswer(requestKey(session.client, id), ["done", id, true], about, nowMs, out);
  }

  #grantedAgain(id: number, hold: Hold): ServerMessage {
    return grantedMessage(id, hold.token, { previous: this.#grants.previousOf(hold.grips) });
  }
}
