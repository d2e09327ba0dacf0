import type { AcquireExtra, ClientMessage, ErrorCode, ServerMessage } from "../protocol/index.js";
import type { Runtime, Timer } from "../runtime/runtime.js";
import { Connector } from "./connector.js";
import { ConnectionError, errorOf, LockDBError, LockTimeoutError } from "./errors.js";
import { HeldLease, type LeaseKeeper, type LeaseTerms } from "./lease.js";
import type { FinalAnswer, Request } from "./request.js";
import { elapsedMs, laterOf, type Moment, trustedMs } from "./trust.js";

/** A client that never reached a server gives up after this long: the address is probably wrong. */
const FIRST_CONNECT_MS = 5_000;
/** How long past its own wait a request may remain unanswered. */
const ANSWER_MS = 5_000;
const SWEEP_MS = 250;
const BYE_MS = 1_000;

export interface SessionOptions {
  readonly service: string;
  readonly apiKey: string;
  readonly urls: readonly string[];
  readonly leaseMs: number;
  readonly owner: string;
}

/** What to ask for, in milliseconds. */
export interface AcquireTerms extends LeaseTerms {
  readonly waitMs: number;
}

/**
 * The client's side of sessions: one at a time, resumed after every loss of connection (R3), replaced when the server
 * has ended it. It decides by this machine's clocks how long holds can be trusted (L2, L5), and by nothing else.
 */
export class ClientSession implements LeaseKeeper {
  readonly runtime: Runtime;
  readonly #options: SessionOptions;
  readonly #connector: Connector;
  readonly #client: string;
  readonly #requests = new Map<number, Request>();
  /** Session holds by token, also those whose release is on its way. */
  readonly #leases = new Map<number, HeldLease>();
  /** Requests that were given up: told to the server until it has confirmed. */
  readonly #cancelled = new Set<number>();
  #session: string;
  #sessionCount = 0;
  #connection = 0;
  #welcomed = false;
  /** A moment before the server last renewed the session, as far as is known. */
  #renewed: Moment | null = null;
  #idNext = 1;
  #heartbeat: Request | null = null;
  #trustTimer: Timer | null = null;
  #beatTimer: Timer | null = null;
  #sweepTimer: Timer | null = null;
  #warned = false;
  #everWelcomed = false;
  #wantedSince: number | null = null;
  #lastFailure = "no attempt was made yet";
  #closed: Promise<void> | null = null;

  constructor(runtime: Runtime, options: SessionOptions) {
    this.runtime = runtime;
    this.#options = options;
    this.#client = runtime.randomId();
    this.#session = this.#newSessionId();
    this.#connector = new Connector(runtime, options.urls, options.apiKey, {
      isWanted: () => this.#requests.size > 0 || this.#leases.size > 0,
      opened: () => this.#opened(),
      received: (messages) => this.#received(messages),
      closed: (reason, code) => this.#disconnected(reason, code),
    });
  }

  now(): Moment {
    return { monotonicMs: this.runtime.monotonicMs(), wallMs: this.runtime.wallMs() };
  }

  sessionRemainingMs(): number {
    if (this.#renewed === null) return 0;
    return trustedMs(this.#options.leaseMs) - elapsedMs(this.#renewed, this.now());
  }

  /** Stands in the queue until granted, refused, out of time or aborted. */
  acquire(terms: AcquireTerms, signal?: AbortSignal): Promise<HeldLease> {
    signal?.throwIfAborted();
    const endsAt = this.runtime.monotonicMs() + terms.waitMs;
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#abandon(request);
        reject(signal!.reason);
      };
      const done = () => signal?.removeEventListener("abort", onAbort);
      const request = this.#request("acquire", terms.waitMs + ANSWER_MS, {
        message: (request) => this.#acquireMessage(request, terms, endsAt),
        settle: (answer) => {
          if (answer[0] !== "granted") {
            done();
            return reject(refusalOf(answer));
          }
          const lease = this.#granted(answer, terms, request);
          if (lease !== null) {
            done();
            return resolve(lease);
          }
          // Too late to be trusted: it is given back, and asked for again in what is left of the time (L5).
          done();
          const waitMs = Math.max(0, endsAt - this.runtime.monotonicMs());
          this.acquire({ ...terms, waitMs }, signal).then(resolve, reject);
        },
        fail: (error) => {
          done();
          reject(error);
        },
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** One request and the value of its `done`. */
  call(kind: "read" | "change", timeoutMs: number, message: (id: number) => ClientMessage): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#request(kind, timeoutMs, {
        message: ({ id }) => message(id),
        settle: (answer) => (answer[0] === "done" ? resolve(answer[2]) : reject(refusalOf(answer))),
        fail: reject,
      });
    });
  }

  release(lease: HeldLease): Promise<boolean> {
    return this.releaseToken(lease.token, lease.terms.name).finally(() => this.forget(lease));
  }

  async releaseToken(token: number, name: string): Promise<boolean> {
    try {
      return (await this.call("change", ANSWER_MS, (id) => ["release", id, token, name])) === true;
    } catch (error) {
      if (error instanceof LockDBError && error.code === "NOT_HELD") return false;
      throw error;
    }
  }

  forget(lease: HeldLease): void {
    if (this.#leases.get(lease.token) === lease) this.#leases.delete(lease.token);
    this.#keepAliveAsNeeded();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  // --- requests ---

  #request(
    kind: Request["kind"],
    timeoutMs: number,
    of: {
      readonly message: (request: Request) => ClientMessage;
      readonly settle: Request["settle"];
      readonly fail: Request["fail"];
    },
  ): Request {
    const id = this.#idNext++;
    const request: Request = {
      id,
      kind,
      deadline: this.runtime.monotonicMs() + timeoutMs,
      message: of.message,
      settle: of.settle,
      fail: of.fail,
      sentAt: null,
      wasSent: false,
      ticket: null,
    };
    if (this.#closed !== null && kind !== "heartbeat") {
      of.fail(errorOf("CLOSED"));
      return request;
    }
    this.#requests.set(id, request);
    if (this.#connector.isOpen) this.#send(request);
    else this.#want();
    this.#keepAliveAsNeeded();
    return request;
  }

  #send(request: Request): void {
    request.sentAt = this.#connector.send(request.message(request));
    request.wasSent = true;
  }

  #acquireMessage({ id, ticket }: Request, terms: AcquireTerms, endsAt: number): ClientMessage {
    const leftMs = endsAt - this.runtime.monotonicMs();
    const waitMs = terms.waitMs === Number.POSITIVE_INFINITY ? null : Math.max(0, Math.ceil(leftMs));
    const extra: { -readonly [K in keyof AcquireExtra]: AcquireExtra[K] } = {};
    if (terms.detachedMs !== null) extra.detachedMs = terms.detachedMs;
    if (terms.minHoldMs !== null) extra.minHoldMs = terms.minHoldMs;
    if (terms.maxHoldMs !== null) extra.maxHoldMs = terms.maxHoldMs;
    if (terms.metadata !== null) extra.metadata = terms.metadata;
    if (ticket !== null) extra.ticket = ticket;
    if (Object.keys(extra).length === 0) return ["acquire", id, terms.name, waitMs];
    return ["acquire", id, terms.name, waitMs, extra];
  }

  /** The caller has given up. The server is told until it confirms: a grant on its way is taken back (Q7). */
  #abandon(request: Request): void {
    if (!this.#requests.delete(request.id)) return;
    if (request.wasSent) {
      this.#cancelled.add(request.id);
      if (this.#connector.isOpen) this.#connector.send(["cancel", request.id]);
    }
    this.#keepAliveAsNeeded();
  }

  // --- connection ---

  #want(): void {
    this.#wantedSince ??= this.runtime.monotonicMs();
    this.#connector.want();
    this.#sweepTimer ??= this.runtime.setTimer(() => this.#sweep(), SWEEP_MS, false);
  }

  #opened(): void {
    const { service, leaseMs, owner } = this.#options;
    const moment = this.#connector.send([
      "hello",
      {
        service,
        client: this.#client,
        session: this.#session,
        connection: ++this.#connection,
        resume: this.#welcomed,
        leaseMs,
        owner,
      },
    ]);
    if (this.sessionRemainingMs() <= 0) this.#loseAll("the server could not be reached in time");
    for (const lease of this.#leases.values()) {
      this.#connector.send(["hold", lease.token, lease.terms.name, lease.claim]);
    }
    for (const id of this.#cancelled) this.#connector.send(["cancel", id]);
    for (const request of this.#requests.values()) this.#send(request);
    this.#connector.send(["sync"]);
    this.#helloAt = moment;
  }

  #helloAt: Moment | null = null;

  #received(messages: readonly ServerMessage[]): void {
    for (const message of messages) {
      if (!this.#connector.isOpen) return;
      this.#take(message);
    }
    this.#keepAliveAsNeeded();
  }

  #take(message: ServerMessage): void {
    switch (message[0]) {
      case "granted":
      case "done":
      case "refused":
        return this.#answered(message);
      case "queued": {
        const request = this.#requests.get(message[1]);
        if (request === undefined) return;
        request.ticket = message[2];
        return this.#renew(request.sentAt);
      }
      case "welcome":
        this.#welcomed = true;
        this.#everWelcomed = true;
        this.#wantedSince = null;
        this.#connector.settled();
        return this.#renew(this.#helloAt);
      case "lost":
        return this.#leases
          .get(message[1])
          ?.lose(message[2] === "force" ? "it was freed by force" : "the server ended it");
      case "ended":
        return this.#ended(message[1], message[2]);
      case "error":
        return;
    }
  }

  #answered(answer: FinalAnswer): void {
    const request = this.#requests.get(answer[1]);
    if (request === undefined) return this.#answeredLate(answer);
    // The server cannot take requests now and will close the connection: the request stays, and goes out again.
    if (answer[0] === "refused" && answer[2] === "UNAVAILABLE") return;
    const sessionIsOver = answer[0] === "refused" && answer[2] === "SESSION_ENDED";
    if (sessionIsOver) return;
    this.#requests.delete(request.id);
    const renewedBefore = this.#renewed;
    this.#renew(request.sentAt);
    this.#grantBasis = laterOf(request.sentAt!, renewedBefore ?? request.sentAt!);
    request.settle(answer);
  }

  /** A moment before the grant that is being settled: its request's, or that of anything answered before it. */
  #grantBasis: Moment | null = null;

  /** Whoever asked has given up. */
  #answeredLate(answer: FinalAnswer): void {
    const [kind, id] = answer;
    if (kind !== "granted") this.#cancelled.delete(id);
    // While a cancel is on its way the server takes the grant back by itself.
    else if (!this.#cancelled.has(id)) this.#giveBack(answer[2]);
  }

  #granted(answer: FinalAnswer, terms: LeaseTerms, request: Request): HeldLease | null {
    if (answer[0] !== "granted") return null;
    const [, , token, extra] = answer;
    const since = this.#grantBasis ?? request.sentAt!;
    const lease = new HeldLease(this, token, terms, since, extra);
    if (lease.remainingMs <= 0) {
      lease.lose("its grant came too late");
      this.#giveBack(token);
      return null;
    }
    if (terms.detachedMs === null) this.#leases.set(token, lease);
    return lease;
  }

  #giveBack(token: number): void {
    this.#request("change", ANSWER_MS, {
      message: ({ id }) => ["release", id, token],
      settle: () => {},
      fail: () => {},
    });
  }

  #ended(code: ErrorCode, text: string): void {
    if (code === "UNAVAILABLE") return this.#connector.drop(text);
    if (code === "SESSION_ENDED") {
      this.#loseAll("the server ended the session");
      this.#session = this.#newSessionId();
      this.#connection = 0;
      this.#welcomed = false;
      this.#renewed = null;
      this.#cancelled.clear();
      return this.#connector.drop(text);
    }
    this.#failAll(errorOf(code, text));
    this.#connector.drop(text);
  }

  #disconnected(reason: string, code: ErrorCode | null): void {
    this.#lastFailure = reason;
    this.#beatTimer?.cancel();
    this.#beatTimer = null;
    if (this.#heartbeat !== null) this.#requests.delete(this.#heartbeat.id);
    this.#heartbeat = null;
    const isFinal =
      code === "UNAUTHORIZED" || code === "FORBIDDEN" || code === "TRIAL_ENDED" || code === "NOT_FOUND";
    if (isFinal || code === "INVALID")
      this.#failAll(errorOf(code, code === "UNAUTHORIZED" ? undefined : reason));
    if (this.#requests.size > 0 || this.#leases.size > 0) this.#want();
  }

  #failAll(error: LockDBError): void {
    for (const request of [...this.#requests.values()]) {
      this.#requests.delete(request.id);
      request.fail(error);
    }
  }

  // --- trust ---

  /** The server has renewed the session at some time after this moment (L2). */
  #renew(moment: Moment | null): void {
    if (moment === null) return;
    // Trust that has run out never comes back: what was held then is lost, even if no timer has fired yet (L5).
    if (this.#renewed !== null && this.sessionRemainingMs() <= 0) {
      this.#loseAll("the server could not be reached in time");
    }
    if (this.#renewed !== null && laterOf(this.#renewed, moment) === this.#renewed) return;
    this.#renewed = moment;
    this.#warned = false;
    this.#trustTimer ??= this.#setTrustTimer();
    this.#beatTimer ??= this.#setBeatTimer();
  }

  #setTrustTimer(): Timer {
    const sinceMs = elapsedMs(this.#renewed!, this.now());
    const { leaseMs } = this.#options;
    const nextMs = this.#warned || sinceMs >= leaseMs / 2 ? trustedMs(leaseMs) : leaseMs / 2;
    return this.runtime.setTimer(() => this.#watchTrust(), Math.max(1, Math.ceil(nextMs - sinceMs)), false);
  }

  #watchTrust(): void {
    this.#trustTimer = null;
    if (this.#renewed === null) return;
    const remainingMs = this.sessionRemainingMs();
    if (remainingMs <= 0) return this.#loseAll("the server could not be reached in time");
    if (!this.#warned && elapsedMs(this.#renewed, this.now()) >= this.#options.leaseMs / 2) {
      this.#warned = true;
      for (const lease of [...this.#leases.values()]) lease.warn(Math.floor(remainingMs));
    }
    this.#trustTimer = this.#setTrustTimer();
  }

  #loseAll(why: string): void {
    for (const lease of [...this.#leases.values()]) {
      const wasReleasing = lease.isReleasing;
      lease.lose(why);
      this.#leases.delete(lease.token);
      // The server may still have it, and nobody will use it any more.
      if (!wasReleasing && this.#connector.isOpen) this.#giveBack(lease.token);
    }
  }

  #setBeatTimer(): Timer {
    const sinceMs = elapsedMs(this.#renewed!, this.now());
    return this.runtime.setTimer(() => this.#beat(), Math.max(1, this.#options.leaseMs / 3 - sinceMs), false);
  }

  #beat(): void {
    this.#beatTimer = null;
    if (!this.#connector.isOpen || this.#renewed === null) return;
    const { leaseMs } = this.#options;
    if (elapsedMs(this.#renewed, this.now()) < leaseMs / 3) {
      this.#beatTimer = this.#setBeatTimer();
      return;
    }
    // The last one was not answered in a third of the lease: the connection is half open, or the server stands still.
    if (this.#heartbeat !== null) return this.#connector.drop("the server does not answer");
    this.#heartbeat = this.#request("heartbeat", Number.POSITIVE_INFINITY, {
      message: ({ id }) => ["heartbeat", id],
      settle: () => {
        this.#heartbeat = null;
      },
      fail: () => {
        this.#heartbeat = null;
      },
    });
    this.#beatTimer = this.runtime.setTimer(() => this.#beat(), leaseMs / 3, false);
  }

  // --- housekeeping ---

  /** Gives up requests whose time is over, and all of them when no server was ever reached. */
  #sweep(): void {
    this.#sweepTimer = null;
    const nowMs = this.runtime.monotonicMs();
    const neverReached =
      !this.#everWelcomed && this.#wantedSince !== null && nowMs - this.#wantedSince >= FIRST_CONNECT_MS;
    for (const request of [...this.#requests.values()]) {
      if (!neverReached && request.deadline > nowMs) continue;
      this.#abandon(request);
      request.fail(this.#outOfTime(request));
    }
    if (neverReached) this.#wantedSince = null;
    if (this.#requests.size > 0)
      this.#sweepTimer = this.runtime.setTimer(() => this.#sweep(), SWEEP_MS, false);
  }

  #outOfTime(request: Request): LockDBError {
    if (this.#connector.isOpen && request.kind !== "acquire") {
      return new LockTimeoutError("The server did not answer in time. Try again, or wait longer.");
    }
    return new ConnectionError(
      `The server could not be reached: ${this.#lastFailure}. Check its address and that it runs, then try again.`,
      request.wasSent,
    );
  }

  /** Only work that somebody waits for keeps the process alive: requests, and locks that are held. */
  #keepAliveAsNeeded(): void {
    const beats = this.#heartbeat === null ? 0 : 1;
    this.#connector.keepAlive(this.#requests.size > beats || this.#leases.size > 0);
    if (this.#requests.size > beats) {
      this.#sweepTimer ??= this.runtime.setTimer(() => this.#sweep(), SWEEP_MS, false);
    }
  }

  #newSessionId(): string {
    return `${this.#client}-${++this.#sessionCount}`;
  }

  async #close(): Promise<void> {
    this.#failAll(errorOf("CLOSED"));
    for (const lease of [...this.#leases.values()]) lease.lose("the client was closed");
    this.#leases.clear();
    if (this.#connector.isOpen) {
      await new Promise<void>((resolve) => {
        const timer = this.runtime.setTimer(resolve, BYE_MS, true);
        const done = () => {
          timer.cancel();
          resolve();
        };
        this.#request("heartbeat", BYE_MS, { message: ({ id }) => ["bye", id], settle: done, fail: done });
      });
    }
    for (const timer of [this.#trustTimer, this.#beatTimer, this.#sweepTimer]) timer?.cancel();
    this.#connector.close();
  }
}

function refusalOf(answer: FinalAnswer): LockDBError {
  if (answer[0] !== "refused")
    return new LockDBError("INTERNAL", "The server gave an answer of the wrong kind.");
  return errorOf(answer[2], answer[3], answer[4] ?? {});
}
