import {
  type ClientMessage,
  clientMessageProblem,
  ERRORS,
  type ErrorCode,
  type Metadata,
  type ServerMessage,
  WIRE_LIMITS,
} from "lockdb/protocol";
import type { Command } from "../engine/index.js";
import { type Caller, NEEDS, type Need, refusalFor, TO_CONNECT, TO_FORCE, TO_HOLD } from "./caller.js";
import type { ClientSocket } from "./client-socket.js";
import { isDeeperThan, parsed } from "./frames.js";
import { Inspections } from "./inspections.js";
import type { Loop } from "./loop.js";
import { OpenWatches } from "./open-watches.js";
import type { Recipient } from "./recipient.js";
import { type Ending, endOf, isAnswer, mayBeLong } from "./server-messages.js";
import { ServiceKey } from "./service.js";
import { Unacknowledged } from "./unacknowledged.js";
import { type Kept, Whereabouts } from "./whereabouts.js";

/** A reader that lets more than this pile up is cut off (N3). */
const BACKLOG_BYTES_MAX = 8 * 1_024 * 1_024;

/** A connection that does not say hello, and then sync, in this time is closed. */
const HELLO_MS = 10_000;

const WATCHES_MAX = 64;

/** Events are left out while so much is on its way to a slow reader: who watches sees the gap. */
const EVENTS_BACKLOG_MAX = 1_024 * 1_024;
const EVENTS_A_FLUSH = 256;
/** How often a slow reader is looked at. */
const GAP_MS = 250;

/** The first frame of a turn is small, so that the client works on it while the next are made; each further one is twice as large. */
const MESSAGES_A_FRAME_MIN = 32;
const MESSAGES_A_FRAME_MAX = 256;

/** In UTF-16 units, of which none takes more than three bytes. */
const FRAME_LENGTH_MAX = Math.floor(WIRE_LIMITS.frameBytesMax / 3);

/** Messages whose second field is no request id. */
const WITHOUT_ID: ReadonlySet<unknown> = new Set(["hello", "hold", "sync", "unwatch"]);

const NO_METADATA: Metadata = Object.freeze({});
const NO_TOKENS: readonly number[] = Object.freeze([]);
/** So that a timer that is over is not kept for as long as its connection. */
const DONE = () => {};

/** One native connection: frames in, commands out, and back. Input is trusted no further than `clientMessageProblem`. */
export class Connection implements Recipient {
  readonly #socket: ClientSocket;
  readonly #failed: (error: unknown) => void;
  readonly #loop: Loop;
  readonly #caller: Caller;
  readonly #address: string;
  #cancelHelloTimer: () => void;
  readonly #unwatchCaller: () => void;
  /** Null: this server is alone, and serves everything. */
  readonly #whereabouts: Whereabouts | null;
  /** How often services had been read when it was accepted. */
  readonly #cameAt: number;
  /** What it must be allowed, or it is over. */
  #need = TO_CONNECT;
  #isSynced = false;
  #service: ServiceKey | null = null;
  #session: string | null = null;
  #owner = "";
  #outgoing: ServerMessage[] = [];
  /** Some of those may be long. */
  #hasLong = false;
  #ended: Ending | null = null;
  readonly #unacknowledged = new Unacknowledged();
  readonly #inspections = new Inspections();
  readonly #watches = new OpenWatches();
  #eventsUnsent = 0;
  #over = false;
  #isClosed = false;

  /** @param failed told of a mistake of ours: that connection is over, and others go on. Default: it is thrown */
  constructor(socket: ClientSocket, loop: Loop, caller: Caller, failed: (error: unknown) => void = rethrow) {
    this.#socket = socket;
    this.#loop = loop;
    this.#caller = caller;
    this.#cameAt = loop.services.readings;
    this.#unwatchCaller = caller.watch(() => {
      if (this.#mayStay() && this.#watches.size > 0) this.#endWatches();
    });
    this.#address = loop.attach(this);
    // They may be on their way, after a pause of this process or a silence of the network: trying again helps.
    const tooLate = () => this.#close("UNAVAILABLE", "No hello and sync came in time. Connect again.");
    this.#cancelHelloTimer = loop.runtime.setTimer(tooLate, HELLO_MS);
    this.#whereabouts = this.#newWhereabouts();
    this.#failed = failed;
    socket.listen({
      message: (text, bytes) => this.#guard(() => this.#read(text, bytes)),
      closed: () => this.#closed(),
    });
  }

  get service(): ServiceKey | null {
    return this.#service;
  }

  receive(message: ServerMessage): void {
    if (message[0] === "event") return this.#event(message);
    this.#say(message);
    if (this.#inspections.count > 0 && isAnswer(message)) this.#inspections.answered(message[1]);
    if (message[0] === "welcome") this.#whereabouts?.welcomed((members) => this.#say(members));
  }

  /** A mistake of ours ends this connection, and nothing else. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      // It may come back: what it holds is not to be lost by our mistake.
      this.#close("UNAVAILABLE", "This connection failed by a mistake in LockDB. Connect again.");
      this.#failed(error);
    }
  }

  #newWhereabouts(): Whereabouts | null {
    const { placement } = this.#loop;
    if (placement === undefined) return null;
    const say = (message: ServerMessage) => {
      this.#say(message);
      this.flush();
    };
    return new Whereabouts(placement, say);
  }

  /** Events come in any number, and nobody waits for one: a slow reader is told that some were left out. */
  #event(event: Extract<ServerMessage, readonly ["event", ...unknown[]]>): void {
    const [, watch, position] = event;
    if (this.#watches.isBehind || this.#socket.bufferedAmount > EVENTS_BACKLOG_MAX) {
      if (!this.#watches.isBehind) this.#loop.runtime.setTimer(() => this.#tellGaps(), GAP_MS);
      this.#watches.leaveOut(watch, position);
      return;
    }
    this.#say(event);
    // So that the socket says how much is on its way.
    if (++this.#eventsUnsent >= EVENTS_A_FLUSH) this.flush();
  }

  #tellGaps(): void {
    if (this.#over) return;
    if (this.#socket.bufferedAmount > EVENTS_BACKLOG_MAX) {
      this.#loop.runtime.setTimer(() => this.#tellGaps(), GAP_MS);
      return;
    }
    for (const [watch, position] of this.#watches.takeLeftOut()) this.#say(["gap", watch, position]);
    this.flush();
  }

  flush(): void {
    this.#eventsUnsent = 0;
    if (this.#over || this.#outgoing.length === 0) return;
    const messages = this.#outgoing;
    this.#outgoing = [];
    let size = MESSAGES_A_FRAME_MIN;
    for (let at = 0; at < messages.length; ) {
      this.#send(at === 0 && messages.length <= size ? messages : messages.slice(at, at + size));
      at += size;
      size = Math.min(2 * size, MESSAGES_A_FRAME_MAX);
    }
    this.#hasLong = false;
    const ended = this.#ended;
    if (ended !== null) {
      this.#over = true;
      const [code, reason] = endOf(ended);
      this.#socket.close(code, reason);
    } else if (this.#unacknowledged.count > WIRE_LIMITS.answersMax) {
      this.#close(
        "LIMIT_EXCEEDED",
        "Too many messages were not acknowledged. Begin each frame with the count received.",
      );
    } else if (this.#socket.bufferedAmount > BACKLOG_BYTES_MAX) {
      this.#over = true;
      this.#socket.terminate();
    }
  }

  /** One frame, or several when it would be longer than a frame may be (N3). */
  #send(messages: readonly ServerMessage[]): void {
    if (!this.#hasLong) return this.#socket.send(JSON.stringify(messages));
    let texts: string[] = [];
    let length = 0;
    for (const message of messages) {
      const text = JSON.stringify(message);
      if (texts.length > 0 && length + text.length > FRAME_LENGTH_MAX) {
        this.#socket.send(`[${texts.join()}]`);
        texts = [];
        length = 0;
      }
      texts.push(text);
      length += text.length + 1;
    }
    this.#socket.send(`[${texts.join()}]`);
  }

  #say(message: ServerMessage): void {
    if (message[0] === "refused") this.#loop.totals.refusedWith(message[2]);
    else if (message[0] === "error") this.#loop.totals.refusedWith(message[1]);
    this.#hasLong ||= mayBeLong(message);
    if (message[0] === "moved" && this.#ended === null) this.#loop.totals.clientsMoved++;
    if (message[0] === "ended" || message[0] === "moved") this.#ended ??= message;
    this.#outgoing.push(message);
    this.#unacknowledged.add(message);
  }

  /** False when it was refused: too many have no answer yet. */
  #isInspecting(message: Extract<ClientMessage, readonly ["inspect" | "list", ...unknown[]]>): boolean {
    if (this.#inspections.isFull) {
      this.#refuse(message, "RATE_LIMITED");
      return false;
    }
    this.#inspections.begun(message[1]);
    return true;
  }

  #read(text: string | null, bytes: number): void {
    // Nothing of a frame counts for a key that has come to its end, not even that somebody is there.
    if (!this.#mayStay()) return;
    const frame = text === null ? undefined : parsed(text);
    if (!Array.isArray(frame))
      return this.#refuse(frame, "INVALID", "A frame must be a JSON array in a text message.");
    const received: unknown = frame[0];
    if (!Number.isSafeInteger(received) || !this.#acknowledge(received as number)) {
      return this.#refuse(null, "INVALID", "A frame must begin with the number of messages received so far.");
    }
    this.#takeAll({ messages: frame, isLarge: bytes > WIRE_LIMITS.messageBytesMax }, 1, bytes);
  }

  #takeAll({ messages, isLarge }: Kept, from: number, bytes: number): void {
    for (let at = from; at < messages.length && !this.#over; at++) {
      if (this.#whereabouts?.isWaiting === true) {
        if (this.#whereabouts.keep({ messages: messages.slice(at), isLarge }, bytes)) return;
        return this.#close("UNAVAILABLE", "No server has this service yet. Try again soon.");
      }
      this.#take(messages[at], isLarge);
    }
  }

  #take(message: unknown, isInLargeFrame: boolean): void {
    if (isInLargeFrame) {
      // Depth first: measuring, too, would follow it down until the stack ends.
      if (isDeeperThan(message, WIRE_LIMITS.depthMax))
        return this.#refuse(message, "INVALID", "This nests too deep.");
      if (JSON.stringify(message).length > WIRE_LIMITS.messageBytesMax)
        return this.#refuse(message, "TOO_LARGE");
    }
    const problem = clientMessageProblem(message);
    if (problem !== null && isHello(message)) return this.#close("INVALID", problem);
    if (problem !== null) return this.#refuse(message, "INVALID", problem);
    this.#command(message as ClientMessage);
  }

  /** False when its key may not be here any more (A2): then it is over. Its session goes on for what is left of its lease. */
  #mayStay(): boolean {
    if (this.#over) return false;
    const code = this.#caller.refusal(this.#need, this.#service?.id ?? null);
    if (code === null) return true;
    this.#close(code, ERRORS[code].message);
    // At once, however slow the other side is to close: nothing more is granted to it.
    this.#closed();
    return false;
  }

  /** Whoever may look no more is told no more (A2): each watch is refused, though it was answered before. */
  #endWatches(): void {
    const code = this.#refusalOf(NEEDS.watch);
    if (code === null) return;
    for (const id of this.#watches.ids) {
      this.#loop.unwatch(this.#service!, this, id);
      this.#say(["refused", id, code, ERRORS[code].message]);
    }
    this.#watches.clear();
    this.flush();
  }

  /** Why this is not done for its key now, or null. */
  #refusalOf(need: Need): ErrorCode | null {
    return refusalFor(this.#caller, need, this.#service!.id, this.#loop);
  }

  /** False: too many (A5). Whoever comes back says all at once what it holds and waits for: none of that may be left out (R3). */
  #isTaken(kind: ClientMessage[0], need: Need): boolean {
    if (this.#isSynced) return this.#caller.take(need);
    return kind === "acquire" ? this.#caller.borrow() : need.isWayOut === true || this.#caller.take(need);
  }

  #command(message: ClientMessage): void {
    if (message[0] === "hello") return this.#hello(message);
    const need = NEEDS[message[0]];
    if (!this.#isTaken(message[0], need)) return this.#refuse(message, "RATE_LIMITED");
    const session = this.#session;
    const address = this.#address;
    if (session === null) return this.#refuse(message, "INVALID", "Say hello first.");
    const refusal =
      this.#refusalOf(need) ??
      (message[0] === "acquire" && message[4]?.steal ? this.#refusalOf(TO_FORCE) : null);
    if (refusal !== null) return this.#refuse(message, refusal);
    switch (message[0]) {
      case "acquire": {
        const [kind, id, names, waitMs, extra] = message;
        const webhookUrl = extra?.webhookUrl;
        const problem = webhookUrl === undefined ? null : this.#loop.outbox.urlProblem(webhookUrl);
        if (problem !== null) return this.#refuse(message, "INVALID", problem);
        return this.#submit({
          kind,
          session,
          address,
          id,
          names,
          waitMs: waitMs ?? Number.POSITIVE_INFINITY,
          detachedMs: extra?.detachedMs ?? null,
          minHoldMs: extra?.minHoldMs ?? 0,
          maxHoldMs: extra?.maxHoldMs ?? null,
          metadata: extra?.metadata ?? NO_METADATA,
          ticket: extra?.ticket ?? null,
          within: extra?.within ?? NO_TOKENS,
          reentrant: extra?.reentrant === true,
          leads: extra?.leads === true,
          stolenBy: extra?.steal === true ? this.#who : null,
          owner: null,
          webhookUrl,
          outboxIsFull: webhookUrl !== undefined && this.#loop.outbox.isFull(this.#caller.account),
          trialIsOver: this.#caller.trialIsOver,
        });
      }
      case "release": {
        const [kind, id, token, name = null] = message;
        return this.#submit({ kind, session, address, id, token, name });
      }
      case "abandon": {
        const [kind, id, token] = message;
        return this.#submit({ kind, session, address, id, token });
      }
      case "force": {
        const [kind, id, name, token, reason] = message;
        return this.#submit({ kind, session, address, id, name, token, reason, who: this.#who });
      }
      case "check": {
        const [kind, id, name, waitMs] = message;
        return this.#submit({ kind, session, address, id, name, waitMs: waitMs ?? Number.POSITIVE_INFINITY });
      }
      case "unlock": {
        const [kind, id, name] = message;
        return this.#submit({ kind, session, address, id, name, waitMs: Number.POSITIVE_INFINITY });
      }
      case "inspect": {
        const [kind, id, name, token] = message;
        if (this.#isInspecting(message)) this.#submit({ kind, session, address, id, name, token });
        return;
      }
      case "list": {
        const [kind, id, query] = message;
        if (this.#isInspecting(message)) this.#submit({ kind, session, address, id, query });
        return;
      }
      case "watch": {
        const [, id, query] = message;
        if (this.#watches.size >= WATCHES_MAX) return this.#refuse(message, "LIMIT_EXCEEDED");
        this.#watches.add(id);
        return this.#loop.watch(this.#service!, this, id, query);
      }
      case "unwatch":
        this.#watches.delete(message[1]);
        return this.#loop.unwatch(this.#service!, this, message[1]);
      case "hold": {
        const [, token, names, extra = {}] = message;
        return this.#submit({ kind: "claim", session, address, token, names, extra });
      }
      case "cancel": {
        const [kind, id, token = null] = message;
        return this.#submit({ kind, session, address, id, token });
      }
      case "heartbeat":
      case "bye":
        return this.#submit({ kind: message[0], session, address, id: message[1] });
      case "sync":
        this.#cancelHelloTimer();
        this.#cancelHelloTimer = DONE;
        this.#isSynced = true;
        return this.#submit({ kind: "sync", session, address });
    }
  }

  #hello(message: Extract<ClientMessage, readonly ["hello", unknown]>): void {
    if (this.#session !== null)
      return this.#refuse(message, "INVALID", "Hello was said before on this connection.");
    const { service, epoch = null, ...hello } = message[1];
    this.#service = new ServiceKey(this.#caller.account, service);
    const mayHold = this.#caller.refusal(TO_HOLD, service) === null;
    if (mayHold) this.#need = TO_HOLD;
    if (!this.#mayStay()) return;
    const begin = () => {
      // What it says may have been on its way for long: its client may have been elsewhere since, and have more now than it says here (R3).
      if (this.#loop.services.mayBeOlder(this.#service!, this.#cameAt, epoch))
        return this.#end(this.#whereabouts?.toHere() ?? ["ended", "UNAVAILABLE", "Connect again."]);
      this.#session = hello.session;
      this.#owner = hello.owner;
      this.#submit({ kind: "hello", address: this.#address, ...hello, ...(mayHold ? {} : { reads: true }) });
    };
    if (this.#whereabouts === null) return begin();
    const place = this.#whereabouts;
    place.find(this.#service, () =>
      this.#guard(() => {
        // Its key may have come to its end meanwhile.
        if (!this.#mayStay()) return;
        begin();
        for (const kept of place.takeKept()) this.#takeAll(kept, 0, 0);
      }),
    );
  }

  #submit(command: Command): void {
    this.#loop.submit(this.#service!, command);
  }

  /** Answers up to here have arrived and need not be kept (Q6). False when more is claimed than was sent. */
  #acknowledge(received: number): boolean {
    const acknowledged = this.#unacknowledged.take(received);
    if (acknowledged === null) return false;
    const { ids, lostTokens } = acknowledged;
    if (ids.length + lostTokens.length > 0 && this.#session !== null) {
      const from = { session: this.#session, address: this.#address };
      this.#submit({ kind: "acknowledge", ...from, ids, lostTokens });
    }
    return true;
  }

  /** For the audit log. */
  get #who(): string {
    return `${this.#caller.label}, as ${this.#owner}`;
  }

  /** A typed refusal of one message: under its id when it has one. The connection stays. */
  #refuse(message: unknown, code: ErrorCode, text: string = ERRORS[code].message): void {
    const [kind, id]: unknown[] = Array.isArray(message) ? message : [];
    if (!this.#caller.mayBeRefused())
      return this.#close(
        "RATE_LIMITED",
        "Too much was refused on this connection. Slow down, then connect again.",
      );
    const hasId = Number.isSafeInteger(id) && (id as number) > 0 && !WITHOUT_ID.has(kind);
    if (!hasId) return this.#error(code, text);
    this.#say(["refused", id as number, code, text]);
    this.flush();
  }

  #error(code: ErrorCode, text: string): void {
    this.#say(["error", code, text]);
    this.flush();
  }

  #close(code: ErrorCode, text: string): void {
    this.#end(["ended", code, text]);
  }

  #end(message: Ending): void {
    this.#say(message);
    this.flush();
  }

  /** Nobody hears on it any more. */
  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#over = true;
    this.#cancelHelloTimer();
    this.#unwatchCaller();
    this.#whereabouts?.close();
    this.#loop.detach(this.#address);
    if (this.#watches.size > 0) this.#loop.unwatch(this.#service!, this, null);
    if (this.#session === null) return;
    this.#submit({ kind: "disconnect", session: this.#session, address: this.#address });
  }
}

function rethrow(error: unknown): never {
  throw error;
}

function isHello(message: unknown): boolean {
  return Array.isArray(message) && message[0] === "hello";
}
