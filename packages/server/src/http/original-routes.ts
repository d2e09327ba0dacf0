/**
 * The three routes of the original client (C1-C4). It takes any answer with a JSON body, other than a 401, as success,
 * so every refusal here is plain text (C2).
 */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  ERRORS,
  type ErrorCode,
  LIMITS,
  lockNameProblem,
  type ServerMessage,
  serviceIdProblem,
  WIRE_LIMITS,
  webhookUrlProblem,
} from "lockdb/protocol";
import type { KeyCaller } from "../access/index.js";
import type { Command } from "../engine/index.js";
import { type Loop, type Need, type Recipient, ServiceKey, whenRefused } from "../loop/index.js";
import { isPassedOn } from "./addresses.js";
import { callerLabel } from "./caller.js";
import { answerFailure, retryAfterS } from "./errors.js";
import { type Gate, tellQuota } from "./gate.js";
import { watchHandOver } from "./hand-over.js";
import { parseJson } from "./json.js";
import type { PassingOn } from "./passing-on.js";
import { noteRefusal } from "./request-log.js";

const WAIT_MS_DEFAULT = 30_000;
const EXPIRATION_S_DEFAULT = 300;
/** `check` and `unlock` of a recovering service wait at most as long as that client does. */
const READ_WAIT_MS = 4_950;
/** How long before the caller's limit its waiter leaves the queue (C3). */
const MARGIN_MS = 50;
/** How long after the limit a caller that has not hung up is answered (C3). */
const GRACE_MS = 1_000;
/** The whole text of a 401. */
const UNAUTHORIZED = "Unauthorized";
const EVENTS = ["lock", "unlock", "check"] as const;
type EventName = (typeof EVENTS)[number];

export const ORIGINAL_NEEDS: { readonly [Event in EventName]: Need } = {
  lock: { scopes: ["lock"], isNewLock: true },
  unlock: { scopes: ["lock"], isWayOut: true },
  check: { scopes: ["lock", "read"] },
};

interface Body {
  readonly serviceId: string;
  readonly lockName: string;
  readonly waitForLockInMs?: number;
  readonly lockExpirationInSeconds?: number;
  readonly unlockWebhookUrl?: string;
}

/**
 * True for a request that the original client may have sent, also with a wrong base address. It appends `/lock` to
 * whatever it was given; after a `#`, as in a page's address, nothing of that arrives here.
 */
export function mayBeOriginal(method = "GET", url = "/"): boolean {
  return /\/(lock|unlock|check)\/*(\?|$)/.test(url) || (method === "POST" && !url.startsWith("/v1/"));
}

/** Adds `POST /lock`, `/unlock` and `/check`. */
export async function originalRoutes(
  app: FastifyInstance,
  { gate, loop, passing }: { gate: Gate; loop: Loop; passing: PassingOn | null },
) {
  app.removeAllContentTypeParsers();
  // That client sends its JSON as text/plain; others send it as they like.
  app.addContentTypeParser(
    "*",
    { parseAs: "buffer", bodyLimit: WIRE_LIMITS.messageBytesMax },
    (_request, bytes, done) => done(null, bytes),
  );
  app.setErrorHandler<Error & { statusCode?: number }>((error, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) request.log.error({ err: error }, "a request failed");
    const code: ErrorCode = status === 413 ? "TOO_LARGE" : status >= 500 ? "INTERNAL" : "INVALID";
    return plain(reply, code, `${code}: ${ERRORS[code].message}`);
  });
  for (const event of EVENTS) {
    app.route({
      method: ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"],
      url: `/${event}`,
      handler: (_request, reply) =>
        plain(reply.header("allow", "POST"), "INVALID", "INVALID: Use POST.", 405),
    });
    app.post(`/${event}`, {
      onRequest: (request, reply, done) => {
        const caller = gate.admit(request.raw);
        if (typeof caller === "string") return void refusePlain(reply, caller);
        const isTaken = isPassedOn(request.raw) || caller.take(ORIGINAL_NEEDS[event]);
        tellQuota(caller, reply.raw);
        if (!isTaken) return void refusePlain(reply, "RATE_LIMITED");
        done();
      },
      handler: async (request, reply) => {
        const body = readBody(event, request.body);
        if (typeof body === "string") return plain(reply, "INVALID", `INVALID: ${body}`);
        const caller = gate.callerOf(request.raw);
        // Which service it is about stands in the body.
        const code = caller.refusal(ORIGINAL_NEEDS[event], body.serviceId);
        if (code !== null) return refusePlain(reply, code);
        const service = new ServiceKey(caller.account, body.serviceId);
        const refuseHere = () => void refusePlain(reply, "UNAVAILABLE");
        if (passing !== null && !(await passing.isHere(service, request, reply, refuseHere))) return reply;
        const passOn = (refuse: () => void) => {
          if (passing === null) refuse();
          else void passing.after(service, request, reply, refuse);
        };
        const url = body.unlockWebhookUrl;
        const problem = url === undefined ? null : loop.outbox.urlProblem(url);
        if (problem !== null) return plain(reply, "INVALID", `INVALID: ${problem}`);
        reply.hijack();
        try {
          new OriginalCall(loop, caller, event, body, request, reply.raw, passOn).start();
        } catch (error) {
          const text = `INTERNAL: ${ERRORS.INTERNAL.message}`;
          answerFailure(request, reply, error, { type: "text/plain; charset=utf-8", body: text });
        }
        return reply;
      },
    });
  }
}

/** One call, from its command to its answer, or to the moment its caller hangs up. */
class OriginalCall implements Recipient {
  readonly #loop: Loop;
  readonly #caller: KeyCaller;
  readonly service: ServiceKey;
  readonly #event: EventName;
  readonly #body: Body;
  readonly #response: ServerResponse;
  readonly #socket: Socket;
  readonly #owner: string;
  readonly #waitMs: number;
  readonly #address: string;
  readonly #onHungUp = () => this.#hungUp();
  readonly #unwatchCaller: () => void;
  /** Where its service has moved to. */
  readonly #passOn: (refuse: () => void) => void;
  #timer: NodeJS.Timeout | null = null;
  #startedAtMs = 0;

  constructor(
    loop: Loop,
    caller: KeyCaller,
    event: EventName,
    body: Body,
    request: FastifyRequest,
    response: ServerResponse,
    passOn: (refuse: () => void) => void,
  ) {
    this.#loop = loop;
    this.#passOn = passOn;
    this.#caller = caller;
    this.service = new ServiceKey(caller.account, body.serviceId);
    this.#event = event;
    this.#body = body;
    this.#response = response;
    this.#socket = request.raw.socket;
    this.#owner = callerLabel(request.raw);
    this.#waitMs = body.waitForLockInMs ?? WAIT_MS_DEFAULT;
    this.#address = loop.attach(this);
    this.#unwatchCaller = whenRefused(caller, ORIGINAL_NEEDS[event], body.serviceId, (code) => {
      this.#withdraw();
      noteRefusal(this.#response, code);
      if (code === "UNAUTHORIZED") this.#answer(401, UNAUTHORIZED);
      else this.#refuse(code, ERRORS[code].message);
    });
  }

  start(): void {
    this.#startedAtMs = performance.now();
    // It may have hung up while its body was read: its 'close' has been and gone then.
    if (this.#socket.destroyed) {
      this.#unwatchCaller();
      return this.#loop.detach(this.#address);
    }
    this.#response.once("close", this.#onHungUp);
    const { lockName: name, lockExpirationInSeconds = EXPIRATION_S_DEFAULT, unlockWebhookUrl } = this.#body;
    const from = { session: null, address: this.#address, id: 1 };
    if (this.#event !== "lock")
      return this.#submit({ kind: this.#event, ...from, name, waitMs: READ_WAIT_MS });
    this.#submit({
      kind: "acquire",
      ...from,
      names: name,
      within: [],
      reentrant: false,
      leads: false,
      stolenBy: null,
      waitMs: Math.floor(this.#waitMs - Math.min(MARGIN_MS, this.#waitMs / 2)),
      detachedMs: Math.max(1, Math.round(lockExpirationInSeconds * 1_000)),
      minHoldMs: 0,
      maxHoldMs: null,
      metadata: {},
      ticket: null,
      owner: this.#owner,
      webhookUrl: unlockWebhookUrl,
      outboxIsFull: unlockWebhookUrl !== undefined && this.#loop.outbox.isFull(this.service.account),
      trialIsOver: this.#caller.trialIsOver,
    });
  }

  receive(message: ServerMessage): void {
    const { lockName } = this.#body;
    switch (message[0]) {
      case "granted":
        return this.#grant();
      case "done": {
        if (this.#event === "lock") return;
        const field = this.#event === "unlock" ? "wasLocked" : "isLocked";
        return this.#answer(200, { eventName: this.#event, lockName, [field]: message[2] });
      }
      case "refused":
        if (message[2] === "LOCK_TIMEOUT") return this.#timeOut();
        return this.#refuse(message[2], message[3]);
      case "ended":
        return this.#refuse("UNAVAILABLE", message[2]);
      case "moved":
        this.#release();
        return this.#passOn(() => this.#refuse("UNAVAILABLE", ERRORS.UNAVAILABLE.message));
    }
  }

  flush(): void {
    // Each call has one answer, which `receive` has sent.
  }

  #grant(): void {
    this.#unwatchCaller();
    this.#response.off("close", this.#onHungUp);
    if (this.#response.destroyed || this.#socket.destroyed) return this.#hungUp();
    watchHandOver(this.#socket, this.#response, (wasRead) => {
      if (!wasRead) return this.#hungUp();
      this.#submit({ kind: "delivered", address: this.#address });
      this.#loop.detach(this.#address);
    });
    this.#write(200, { eventName: "lock", lockName: this.#body.lockName });
  }

  /** Silence until the caller's own timer has fired: only that gives it the `TimeoutError` it looks for (C3). */
  #timeOut(): void {
    const limitMs = this.#startedAtMs + this.#waitMs + GRACE_MS;
    // Now: it will hang up before it is answered.
    this.#loop.totals.refusedWith("LOCK_TIMEOUT");
    this.#timer = setTimeout(() => this.#answer(408, "TimeoutError"), limitMs - performance.now());
  }

  #refuse(code: ErrorCode, text: string): void {
    noteRefusal(this.#response, code);
    const seconds = retryAfterS(code);
    if (seconds !== null && !this.#response.headersSent) this.#response.setHeader("retry-after", seconds);
    this.#answer(ERRORS[code].status!, `${code}: ${text}`);
  }

  #answer(status: number, body: object | string): void {
    this.#release();
    this.#write(status, body);
  }

  /** The loop has nothing more to do with it. */
  #release(): void {
    this.#unwatchCaller();
    this.#response.off("close", this.#onHungUp);
    clearTimeout(this.#timer ?? undefined);
    this.#loop.detach(this.#address);
  }

  #write(status: number, body: object | string): void {
    if (this.#response.headersSent || this.#response.destroyed) return;
    const isText = typeof body === "string";
    const text = isText ? body : JSON.stringify(body);
    this.#response.writeHead(status, {
      "content-type": isText ? "text/plain; charset=utf-8" : "application/json; charset=utf-8",
      "content-length": Buffer.byteLength(text),
      ...(this.#loop.ready ? {} : { connection: "close" }),
    });
    this.#response.end(text);
  }

  /** Its place in the queue is given up, and a grant is taken back at once (Q7). */
  #hungUp(): void {
    this.#unwatchCaller();
    clearTimeout(this.#timer ?? undefined);
    this.#loop.detach(this.#address);
    this.#withdraw();
  }

  #withdraw(): void {
    this.#submit({ kind: "cancel", session: null, address: this.#address, id: 1, token: null });
  }

  #submit(command: Command): void {
    this.#loop.submit(this.service, command);
  }
}

/** The body of a call, or what is wrong with it. */
function readBody(event: EventName, bytes: unknown): Body | string {
  const parsed = parseJson((bytes as Buffer | undefined) ?? Buffer.alloc(0));
  if ("problem" in parsed) return parsed.problem;
  const body = parsed.value;
  if (typeof body !== "object" || body === null || Array.isArray(body))
    return "The body must be a JSON object.";
  const fields = body as Record<string, unknown>;
  const own = (name: string) => (Object.hasOwn(fields, name) ? fields[name] : undefined);
  const [serviceId, lockName] = [own("serviceId"), own("lockName")];
  const problem = serviceIdProblem(serviceId) ?? lockNameProblem(lockName);
  if (problem !== null) return problem;
  if ((own("eventName") ?? event) !== event) return `eventName must be "${event}" here.`;
  const waitForLockInMs = own("waitForLockInMs");
  if (waitForLockInMs !== undefined && !isSpan(waitForLockInMs, 0, LIMITS.durationMsMax)) {
    return "waitForLockInMs must be a number of milliseconds from 0 to ten years.";
  }
  const lockExpirationInSeconds = own("lockExpirationInSeconds");
  if (
    lockExpirationInSeconds !== undefined &&
    !isSpan(lockExpirationInSeconds, 0.001, LIMITS.durationMsMax / 1_000)
  ) {
    return "lockExpirationInSeconds must be a number of seconds from 0.001 to ten years.";
  }
  const unlockWebhookUrl = own("unlockWebhookUrl");
  const urlProblem = unlockWebhookUrl === undefined ? null : webhookUrlProblem(unlockWebhookUrl);
  if (urlProblem !== null) return urlProblem;
  return {
    serviceId: serviceId as string,
    lockName: lockName as string,
    ...(waitForLockInMs === undefined ? {} : { waitForLockInMs }),
    ...(lockExpirationInSeconds === undefined ? {} : { lockExpirationInSeconds }),
    ...(unlockWebhookUrl === undefined ? {} : { unlockWebhookUrl: unlockWebhookUrl as string }),
  };
}

function isSpan(value: unknown, min: number, max: number): value is number {
  return typeof value === "number" && value >= min && value <= max;
}

function refusePlain(reply: FastifyReply, code: ErrorCode): FastifyReply {
  if (code === "UNAUTHORIZED") return plain(reply, code, UNAUTHORIZED);
  const seconds = retryAfterS(code);
  if (seconds !== null) reply.header("retry-after", seconds);
  return plain(reply, code, `${code}: ${ERRORS[code].message}`);
}

function plain(
  reply: FastifyReply,
  code: ErrorCode,
  text: string,
  status: number = ERRORS[code].status!,
): FastifyReply {
  noteRefusal(reply.raw, code);
  return reply.code(status).header("content-type", "text/plain; charset=utf-8").send(text);
}
