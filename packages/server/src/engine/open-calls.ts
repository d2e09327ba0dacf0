import type { ServerMessage } from "lockdb/protocol";
import type { Effects } from "./commands.js";
import { endsAtMs } from "./inspect.js";
import type { Call, Caller, Hold } from "./state.js";

/** A call has one request for locks, and so has its id. */
export const CALL_ID = 1;

/** The calls over HTTP that wait, and those whose refusal nobody has heard yet, by whose they are and their `requestId`. */
export class OpenCalls {
  readonly #callers: Map<string, Caller>;
  readonly #byClient = new Map<string, Call>();

  /** @param callers all that HTTP requests are about now, by their addresses */
  constructor(callers: Map<string, Caller>) {
    this.#callers = callers;
  }

  get size(): number {
    return this.#byClient.size;
  }

  get(client: string): Call | undefined {
    return this.#byClient.get(client);
  }

  add(call: Call): void {
    this.#byClient.set(call.client, call);
    if (call.session === null) return;
    call.session.calls ??= new Set();
    call.session.calls.add(call);
  }

  delete(call: Call): void {
    if (call.address !== null && call.hold === null) this.#callers.delete(call.address);
    if (this.#byClient.get(call.client) === call) this.#byClient.delete(call.client);
    call.session?.calls?.delete(call);
  }

  /** Answers a call that has waited, or keeps the answer for when it comes again. */
  settle(call: Call, message: ServerMessage, nowMs: number, out: Effects): void {
    const { address, hold } = call;
    if (address === null) {
      call.unheard = message;
      return;
    }
    this.delete(call);
    out.answers.push({ to: address, message: hold === null ? message : withEnd(message, hold, nowMs) });
  }
}

/** A grant that also says how long it lasts if nothing renews it. */
export function withEnd(message: ServerMessage, hold: Hold, nowMs: number): ServerMessage {
  if (message[0] !== "granted") return message;
  const [kind, id, token, extra] = message;
  return [kind, id, token, { ...extra, expiresInMs: Math.max(0, endsAtMs(hold) - nowMs) }];
}
