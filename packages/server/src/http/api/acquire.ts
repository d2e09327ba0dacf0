import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import {
  ERRORS,
  type ErrorCode,
  type GrantExtra,
  type LockNames,
  type LockSpec,
  lockNamesProblem,
  metadataProblem,
  ownerProblem,
  type RefusalDetails,
  type ServerMessage,
  webhookUrlProblem,
} from "lockdb/protocol";
import type { CallCommand } from "../../engine/index.js";
import { type Loop, type Recipient, type ServiceKey, whenRefused } from "../../loop/index.js";
import { callerLabel } from "../caller.js";
import { errorBody, errorHeaders, Refusal } from "../errors.js";
import { watchHandOver } from "../hand-over.js";
import type { Asked, Operation } from "../operation.js";
import { noteRefusal } from "../request-log.js";
import { AcquireBody, Grant, LEASED_MS_DEFAULT, SLICE_MS_MAX, Waiting } from "../schemas.js";

export const acquire: Operation = {
  id: "acquire",
  method: "POST",
  need: { scopes: ["lock"], isNewLock: true },
  path: "/v1/services/{service}/acquire",
  tag: "Locks",
  summary: "Get a lock, or several at once",
  description: `Asks for locks, and waits for them in the queue. What is granted is durable.

Without a \`sessionId\` the hold has a lease of its own: renew it by its token at a third of the lease, and release it by its token.
With one it lives as long as that session.

A request that waits longer than one slice is answered **202**: send the same body again, with its \`requestId\`, at once. Its place in
the queue is kept for 30 s meanwhile, and it is passed over, so that nothing is granted to somebody who cannot hear it. Who hangs up gives
a grant back that he has not read.

Sent again while it holds, a request gets the same token, with what is left of its lease. Once the hold is over its \`requestId\` is refused
for a minute. A refusal has had no effect: the same request may be sent again.

With a \`webhookUrl\` the server tells the end of the hold there: by release, expiry or force, at least once, signed. Of a grant that nobody
read it tells nothing.`,
  body: AcquireBody,
  examples: {
    "One lock, for as long as it is renewed": {
      names: "invoice/42",
      waitMs: 60_000,
      requestId: "3f1c7a90-5d1e-4c58-9f0b-2f6f3f6f4f11",
    },
    "Two accounts, both or neither": {
      names: ["account/7", "account/9"],
      waitMs: 5_000,
      leaseMs: 10_000,
      owner: "billing:7",
    },
    "One of four encoders": {
      names: [{ name: "encoder", permits: 4 }],
      waitMs: null,
      metadata: { film: 12 },
    },
    "With somebody to tell when it is over": {
      names: "report",
      leaseMs: 300_000,
      webhookUrl: "https://app.example.com/unlocked",
    },
  },
  answers: {
    200: {
      description: "It is yours.",
      schema: Grant,
      example: {
        token: 4711,
        requestId: "3f1c7a90-5d1e-4c58-9f0b-2f6f3f6f4f11",
        expiresInMs: 30_000,
        ticket: 12,
      },
    },
    202: {
      description: "It waits. Send the same again.",
      schema: Waiting,
      example: { requestId: "3f1c7a90-5d1e-4c58-9f0b-2f6f3f6f4f11", ticket: 12, position: 2 },
    },
  },
  errors: [
    "LOCK_TIMEOUT",
    "LOCK_LOST",
    "DEADLOCK",
    "PERMITS_MISMATCH",
    "REQUEST_ID_REUSED",
    "SESSION_ENDED",
    "RECOVERING",
    "QUEUE_FULL",
    "LIMIT_EXCEEDED",
  ],
  handle: (asked) => {
    const body = asked.body as AcquireBody;
    const names = namesOf(body);
    const { sessionId, leaseMs = LEASED_MS_DEFAULT, maxHoldMs, metadata = {}, owner, webhookUrl } = body;
    const { outbox } = asked.loop;
    const problem =
      lockNamesProblem(names) ??
      metadataProblem(metadata) ??
      (owner === undefined ? null : ownerProblem(owner)) ??
      (sessionId !== undefined && body.leaseMs !== undefined
        ? "A hold of a session has no lease of its own. Leave leaseMs out."
        : null) ??
      (webhookUrl === undefined ? null : webhookProblem(webhookUrl, sessionId, outbox));
    if (problem !== null) throw new Refusal("INVALID", problem);
    const { request } = asked;
    const command: Omit<CallCommand, "address"> = {
      kind: "call",
      session: null,
      id: 1,
      request: body.requestId ?? asked.loop.runtime.randomId(),
      of: sessionId ?? null,
      names,
      waitMs: body.waitMs === null ? Number.POSITIVE_INFINITY : (body.waitMs ?? 0),
      detachedMs: sessionId === undefined ? Math.min(leaseMs, maxHoldMs ?? leaseMs) : null,
      minHoldMs: body.minHoldMs ?? 0,
      maxHoldMs: maxHoldMs ?? null,
      metadata,
      ticket: null,
      within: body.within ?? [],
      reentrant: false,
      leads: body.leads === true,
      stolenBy: null,
      owner: owner ?? (sessionId === undefined ? callerLabel(request.raw) : null),
      webhookUrl,
      outboxIsFull: webhookUrl !== undefined && outbox.isFull(asked.caller.account),
      trialIsOver: asked.caller.trialIsOver,
    };
    new Exchange(asked, command).start(body.sliceMs ?? SLICE_MS_MAX);
    return undefined;
  },
};

/** Why the end of the hold cannot be told there, or null. A session is told itself when its holds end. */
function webhookProblem(url: string, sessionId: string | undefined, outbox: Loop["outbox"]): string | null {
  if (sessionId !== undefined)
    return "A hold of a session has no webhook. Leave webhookUrl or sessionId out.";
  return webhookUrlProblem(url) ?? outbox.urlProblem(url);
}

/** The names as the protocol has them. */
function namesOf({ names }: AcquireBody): LockNames {
  if (typeof names === "string") return names;
  const specs = names.map((spec): LockSpec => {
    if (typeof spec === "string") return spec;
    const { name, mode = "exclusive", permits, weight } = spec;
    if (permits === undefined && weight !== undefined)
      throw new Refusal("INVALID", "A weight needs permits. Say how many there are.");
    if (permits === undefined) return mode === "shared" ? [name, "shared"] : name;
    if (spec.mode !== undefined)
      throw new Refusal("INVALID", "Permits make a semaphore, which has no mode. Leave one of them out.");
    return [name, permits, weight ?? 1];
  });
  return specs.length === 1 && typeof specs[0] === "string" ? specs[0] : specs;
}

/** One HTTP request of a call: from its command to its answer, or to the moment its caller hangs up. */
class Exchange implements Recipient {
  readonly #loop: Loop;
  readonly service: ServiceKey;
  readonly #command: Omit<CallCommand, "address">;
  readonly #socket: Socket;
  readonly #response: ServerResponse;
  readonly #address: string;
  readonly #onHungUp = () => this.#hungUp();
  readonly #unwatchCaller: () => void;
  readonly #passOn: Asked["passOn"];
  #timer: NodeJS.Timeout | undefined;
  #isQueued = false;

  constructor(asked: Asked, command: Omit<CallCommand, "address">) {
    const { loop, service, caller, request, reply, passOn } = asked;
    this.#passOn = passOn;
    this.#loop = loop;
    this.service = service;
    this.#command = command;
    this.#socket = request.raw.socket;
    this.#response = reply.hijack().raw;
    this.#address = loop.attach(this);
    this.#unwatchCaller = whenRefused(caller, acquire.need!, service.id, (code) => {
      this.#leave(true);
      this.#refuse(code, ERRORS[code].message);
    });
  }

  start(sliceMs: number): void {
    // It may have hung up while its body was read: its 'close' has been and gone then.
    if (this.#socket.destroyed) {
      this.#unwatchCaller();
      return this.#loop.detach(this.#address);
    }
    this.#response.once("close", this.#onHungUp);
    this.#timer = setTimeout(() => this.#leave(false), sliceMs);
    this.#loop.submit(this.service, { ...this.#command, address: this.#address });
  }

  receive(message: ServerMessage): void {
    switch (message[0]) {
      case "queued":
        // The first says that it waits; a second one, that its slice is over.
        if (this.#isQueued) this.#answer(202, this.#placed(message[2], message[3]));
        this.#isQueued = true;
        return;
      case "granted":
        return this.#grant(message[2], message[3]);
      case "refused":
        return this.#refuse(message[2], message[3], message[4]);
      case "ended":
        return this.#refuse("UNAVAILABLE", message[2]);
      case "moved":
        this.#release();
        this.#loop.detach(this.#address);
        return this.#passOn(() => this.#refuse("UNAVAILABLE", ERRORS.UNAVAILABLE.message));
      default:
        // No answer to a call: better a mistake that is told than a caller who waits for ever.
        return this.#refuse("INTERNAL", ERRORS.INTERNAL.message);
    }
  }

  flush(): void {
    // Each request has one answer, which `receive` has sent.
  }

  #placed(ticket: number, position: number): object {
    return { requestId: this.#command.request, ticket, position };
  }

  #grant(token: number, { ticket, previous, expiresInMs }: GrantExtra = {}): void {
    const { request: requestId, of: sessionId } = this.#command;
    this.#release();
    if (this.#response.destroyed || this.#socket.destroyed) return this.#hungUp();
    watchHandOver(this.#socket, this.#response, (wasRead) => {
      if (!wasRead) return this.#hungUp();
      this.#loop.submit(this.service, { kind: "delivered", address: this.#address });
      this.#loop.detach(this.#address);
    });
    this.#write(200, {
      token,
      requestId,
      expiresInMs,
      ...(sessionId === null ? {} : { sessionId }),
      ...(ticket === undefined ? {} : { ticket }),
      ...(previous === undefined ? {} : { previous }),
    });
  }

  #refuse(code: ErrorCode, text: string, details?: RefusalDetails): void {
    noteRefusal(this.#response, code);
    this.#answer(ERRORS[code].status!, errorBody(code, text, details), errorHeaders(code));
  }

  #answer(status: number, body: object, headers?: Readonly<Record<string, string>>): void {
    this.#release();
    this.#loop.detach(this.#address);
    this.#write(status, body, headers);
  }

  /** It has its answer: from here on its end means something else. */
  #release(): void {
    this.#unwatchCaller();
    clearTimeout(this.#timer);
    this.#response.off("close", this.#onHungUp);
  }

  #write(status: number, body: object, headers: Readonly<Record<string, string>> = {}): void {
    if (this.#response.headersSent || this.#response.destroyed) return;
    const text = JSON.stringify(body);
    this.#response.writeHead(status, {
      "content-type": "application/json; charset=utf-8",
      "content-length": Buffer.byteLength(text),
      ...headers,
      ...(this.#loop.ready ? {} : { connection: "close" }),
    });
    this.#response.end(text);
  }

  /** Its place is kept for a while, and a grant is taken back at once (Q7). */
  #hungUp(): void {
    this.#unwatchCaller();
    clearTimeout(this.#timer);
    this.#loop.detach(this.#address);
    this.#leave(true);
  }

  #leave(hungUp: boolean): void {
    this.#loop.submit(this.service, { kind: "leave", address: this.#address, hungUp });
  }
}
