import { type ServerMessage, WIRE_LIMITS } from "lockdb/protocol";
import type { Acquire } from "./acquire.js";
import type { CallCommand, Command, Effects, EngineOptions } from "./commands.js";
import type { Grants } from "./grants.js";
import { aboutHold, aboutNames, requestKey } from "./lock-table.js";
import { CALL_ID, withEnd } from "./open-calls.js";
import { grantedMessage, refusal, refuse } from "./replies.js";
import { comeBack, type Sessions } from "./sessions.js";
import { Call, Hold, type KeptAnswer } from "./state.js";

/** How long the place of a call is kept that does not come again. */
const PLACE_KEPT_MS = 30_000;

/** Places before a caller are counted up to here: a long queue is not walked for everybody in it. */
const POSITION_MAX = 1_000;

const OVER = "This request was granted, and its hold is over. Use a new requestId for a new request.";
const TAKEN_OVER = "Another HTTP request with this requestId has taken this one's place.";
const KEPT_BY_SESSION = "This hold lives as long as its session. Send heartbeats of the session instead.";

type Of<K extends Command["kind"]> = Extract<Command, { kind: K }>;

/** What is asked over the HTTP API: locks, by calls that come again (Q6), and leased holds, by their tokens. */
export class Calls {
  readonly #options: EngineOptions;
  readonly #grants: Grants;
  readonly #sessions: Sessions;
  readonly #acquire: Acquire;

  constructor(options: EngineOptions, grants: Grants, sessions: Sessions, acquire: Acquire) {
    this.#options = options;
    this.#grants = grants;
    this.#sessions = sessions;
    this.#acquire = acquire;
  }

  /** Asks for locks, or goes on with a request that was made before. */
  call(command: CallCommand, nowMs: number, out: Effects): void {
    const { address, of } = command;
    const session = of === null ? null : this.#sessions.overHttp(of, nowMs, out);
    if (of !== null && session === null) return refuse(command, "SESSION_ENDED", out);
    const client = clientOf(of, command.request);
    const about = aboutNames(command.names);
    const made = this.#grants.table.madeBy(requestKey(client, CALL_ID));
    if (made !== undefined) {
      const message = this.#answerAgain(made, about, address, nowMs);
      out.answers.push({ to: address, message });
      return;
    }
    const open = this.#grants.calls.get(client);
    if (open === undefined) return this.#new(command, new Call(client, session, about, address), nowMs, out);
    if (open.about !== about) return refuse(command, "REQUEST_ID_REUSED", out);
    this.#goOn(open, address, nowMs, out);
  }

  /** Nobody listens to the answer at this address any more. Hung up: what was told there was not heard, either (Q7). */
  leave({ address, hungUp }: Of<"leave">, nowMs: number, out: Effects): void {
    const { callers, table } = this.#grants;
    const call = callers.get(address)?.call ?? null;
    if (call === null) return;
    if (call.waiter !== null) {
      callers.delete(address);
      call.address = null;
      if (!hungUp) out.answers.push({ to: address, message: this.#placeOf(call) });
      table.deadlines.set(call, nowMs + PLACE_KEPT_MS);
      return this.#grants.leave([call.waiter], nowMs, out);
    }
    if (!hungUp) return;
    callers.delete(address);
    call.tellings--;
    const { hold } = call;
    // Told to another HTTP request, too, it may be heard yet, or was.
    if (call.tellings > 0 || hold === null || hold.remainder) return;
    // As if it had never been: sent again, the call asks anew.
    table.forgetRequest(hold);
    this.#grants.takeBack(hold, nowMs, out);
  }

  /** A call did not come again in time. */
  due(call: Call, nowMs: number, out: Effects): void {
    this.#grants.calls.delete(call);
    if (call.waiter !== null) this.#grants.drop([call.waiter], "not asked again", nowMs, out);
  }

  /** Moves the end of a leased hold. One that is over stays so (L4). */
  renew(command: Of<"renew">, nowMs: number, out: Effects): void {
    const { id, address, token, leaseMs } = command;
    const { table } = this.#grants;
    const hold = table.holds.get(token);
    if (hold === undefined || hold.remainder || hold.leaseMs === null) {
      const text = hold?.session?.isHttp ? KEPT_BY_SESSION : undefined;
      out.answers.push({ to: address, message: refusal(id, "NOT_HELD", text) });
      return;
    }
    table.renew(hold, leaseMs ?? hold.leaseMs, nowMs, out);
    const asked = hold.askedFor === null ? {} : { askedFor: hold.askedFor };
    const renewed = { token, expiresInMs: hold.dueMs - nowMs, ...asked };
    out.answers.push({ to: address, message: ["done", id, renewed] });
  }

  /** Gives a hold back by its token: one of the session that is named, or one without a session. */
  giveBack(command: Of<"giveBack">, nowMs: number, out: Effects): void {
    const { id, address, of, request, token } = command;
    const session = of === null ? null : this.#sessions.overHttp(of, nowMs, out);
    if (of !== null && session === null) return refuse(command, "SESSION_ENDED", out);
    const { table } = this.#grants;
    const key = request === null ? null : requestKey(clientOf(of, request), CALL_ID);
    const made = key === null ? undefined : table.madeBy(key);
    const isWaiting = request !== null && this.#grants.calls.get(clientOf(of, request)) !== undefined;
    if (isWaiting || made instanceof Hold || (made !== undefined && made.about !== token))
      return refuse(command, "REQUEST_ID_REUSED", out);
    if (made !== undefined) {
      out.answers.push({ to: address, message: made.message });
      return;
    }
    const hold = table.holds.get(token);
    if (hold === undefined || hold.remainder || hold.session !== session)
      return refuse(command, "NOT_HELD", out);
    const answer: ServerMessage = ["done", id, true];
    // After a crash, too, it must be known that it was this release that ended the hold.
    if (key !== null) table.keepAnswer(key, answer, token, nowMs, out);
    this.#grants.letGo(hold, nowMs, out);
    out.answers.push({ to: address, message: answer });
  }

  #new(command: CallCommand, call: Call, nowMs: number, out: Effects): void {
    const { session, address } = call;
    const { table, callers } = this.#grants;
    const isFull =
      session !== null && session.holdCount + (session.calls?.size ?? 0) >= this.#options.holdsMax;
    const isMuch =
      this.#grants.calls.size >= WIRE_LIMITS.answersMax || table.keptCount >= WIRE_LIMITS.answersMax;
    if (isFull || isMuch) return refuse(command, "LIMIT_EXCEEDED", out);
    callers.set(address!, call);
    const owner = command.owner ?? session?.owner ?? null;
    this.#acquire.apply({ ...command, kind: "acquire", owner }, nowMs, out);
    const answer = out.answers.at(-1)!;
    if (call.waiter !== null) {
      this.#grants.calls.add(call);
      out.answers[out.answers.length - 1] = { to: answer.to, message: this.#placeOf(call) };
    } else if (call.hold !== null) {
      out.answers[out.answers.length - 1] = {
        to: answer.to,
        message: withEnd(answer.message, call.hold, nowMs),
      };
    } else callers.delete(address!);
  }

  /** A call that waits has come again: it has its place, or the refusal that it has not heard. */
  #goOn(call: Call, address: string, nowMs: number, out: Effects): void {
    const { callers, calls, table } = this.#grants;
    if (call.unheard !== null) {
      table.deadlines.delete(call);
      calls.delete(call);
      out.answers.push({ to: address, message: call.unheard });
      return;
    }
    const waiter = call.waiter!;
    if (call.address !== null) {
      callers.delete(call.address);
      const message = refusal(CALL_ID, "REQUEST_ID_REUSED", TAKEN_OVER);
      out.answers.push({ to: call.address, message });
    }
    call.address = address;
    callers.set(address, call);
    const wasAway = !waiter.isQueued;
    // Its place is told as it is in the queue, before anything is granted there.
    const wanted = wasAway ? comeBack([waiter]) : [];
    out.answers.push({ to: address, message: this.#placeOf(call) });
    if (!wasAway) return;
    table.deadlines.delete(call);
    for (const lock of wanted) this.#grants.serve(lock, nowMs, out);
    this.#grants.breakDeadlocks([waiter], nowMs, out);
  }

  /** The answer to a call that was granted: again while it holds, and never as a grant when that is over. */
  #answerAgain(made: Hold | KeptAnswer, about: string, address: string, nowMs: number): ServerMessage {
    const isHold = made instanceof Hold;
    if ((isHold ? aboutHold(made) : made.about) !== about) return refusal(CALL_ID, "REQUEST_ID_REUSED");
    if (!isHold && made.message[0] !== "granted") return made.message;
    if (!isHold || made.remainder) return refusal(CALL_ID, "REQUEST_ID_REUSED", OVER);
    const { caller } = made;
    if (caller?.call != null) {
      // Not known to be heard. Now it is told to one HTTP request more.
      caller.call.tellings++;
      this.#grants.callers.set(address, caller);
    }
    const previous = this.#grants.previousOf(made.grips);
    return withEnd(grantedMessage(CALL_ID, made.token, { previous }), made, nowMs);
  }

  #placeOf({ waiter }: Call): ServerMessage {
    let position = 0;
    for (let place = waiter!.previous; place !== null && position < POSITION_MAX; place = place.previous)
      position++;
    return ["queued", CALL_ID, waiter!.ticket, position];
  }
}

/** Whose request it is, in the place where a native client has its id: no such id has a colon. */
function clientOf(session: string | null, request: string): string {
  return `http:${session ?? ""}:${request}`;
}
