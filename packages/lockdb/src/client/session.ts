import type { ClientMessage, ErrorCode, ServerMessage } from "../protocol/index.js";
import type { Runtime, Timer } from "../runtime/runtime.js";
import { Cancels } from "./cancels.js";
import { Connector } from "./connector.js";
import { errorOf, type LockDBError, LockTimeoutError } from "./errors.js";
import { Heartbeats } from "./heartbeats.js";
import { HeldLease, type LeaseKeeper } from "./lease.js";
import {
  type AcquireHost,
  AcquireRequest,
  type AcquireTerms,
  CallRequest,
  type FinalAnswer,
  ReleaseRequest,
  type Request,
} from "./request.js";
import { SessionHolds } from "./session-holds.js";
import { type Moment, now, SessionTrust } from "./trust.js";

/** A client that never reached a server gives up after this long: the address is probably wrong. */
const FIRST_CONNECT_MS = 5_000;
/** How long past its own wait a request may remain unanswered. */
const ANSWER_MS = 5_000;
const SWEEP_MS = 250;
const BYE_MS = 1_000;

/** Messages that stand for themselves, and answer nothing. */
const UNASKED: ReadonlySet<ServerMessage[0]> = new Set(["welcome", "lost", "ended", "error"]);

type Granted = Extract<FinalAnswer, readonly ["granted", ...unknown[]]>;

export interface SessionOptions {
  readonly service: string;
  readonly apiKey: string;
  readonly urls: readonly string[];
  readonly leaseMs: number;
  readonly owner: string;
}

/**
 * The client's side of sessions: one at a time, resumed after every loss of connection (R3), replaced when the server
 * has ended it. How long holds can be trusted is for `SessionTrust` to say.
 */
export class ClientSession implements LeaseKeeper {
  readonly runtime: Runtime;
  readonly #options: SessionOptions;
  readonly #connector: Connector;
  readonly #trust: SessionTrust;
  readonly #client: string;
  /** In the order of their ids, which is the order in which they are sent again. */
  readonly #requests = new Map<number, Request>();
  readonly #holds = new SessionHolds();
  readonly #cancels = new Cancels();
  readonly #host: AcquireHost = {
    granted: (request, answer) => this.#granted(request, answer),
    aborted: (request) => this.#abandon(request),
  };
  #session: string;
  #sessionCount = 0;
  #connection = 0;
  /** On the present connection everything has been said that a resume must say first. */
  #isResumed = false;
  #welcomed = false;
  #everWelcomed = false;
  /** The server has refused the last connection for a reason that will not change by itself. */
  #isRefused = false;
  /** The server has heard all that was said when the present connection began. */
  #isWelcomedHere = false;
  readonly #beforeWelcome: ServerMessage[] = [];
  #helloAt: Moment | null = null;
  #idNext = 1;
  readonly #heartbeats: Heartbeats;
  #heartbeat: Request | null = null;
  #welcomeTimer: Timer | null = null;
  #sweepTimer: Timer | null = null;
  #wantedSince: number | null = null;
  #lastFailure = "no attempt was made yet";
  #closed: Promise<void> | null = null;

  constructor(runtime: Runtime, options: SessionOptions) {
    this.runtime = runtime;
    this.#options = options;
    this.#client = runtime.randomId();
    this.#session = this.#newSessionId();
    this.#trust = new SessionTrust(runtime, options.leaseMs, {
      atRisk: (remainingMs) => {
        for (const lease of this.#holds.held) lease.warn(remainingMs);
      },
      over: () => this.#loseAll("the server could not be reached in time"),
    });
    this.#heartbeats = new Heartbeats(runtime, options.leaseMs, {
      ageMs: () => this.#trust.ageMs,
      isPending: ({ id }) => this.#requests.has(id),
      send: (answered) => this.#sendHeartbeat(answered),
      failed: () => this.#noAnswer(),
    });
    this.#connector = new Connector(runtime, options.urls, options.apiKey, {
      isWanted: () => this.#isWanted,
      opened: () => this.#opened(),
      received: (messages) => this.#received(messages),
      closed: (reason, code) => this.#disconnected(reason, code),
    });
  }

  now(): Moment {
    return now(this.runtime);
  }

  sessionRemainingMs(): number {
    return this.#trust.remainingMs;
  }

  isAtRisk(): boolean {
    return this.#trust.isAtRisk;
  }

  /** Stands in the queue until granted, refused, out of time or aborted. */
  acquire(terms: AcquireTerms, signal?: AbortSignal): Promise<HeldLease> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const endsAtMs = this.runtime.monotonicMs() + terms.waitMs;
      this.#startAcquire(terms, endsAtMs, resolve, reject, signal);
    });
  }

  /** One request and the value of its `done`. */
  call(timeoutMs: number, message: (id: number) => ClientMessage): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const deadlineMs = this.runtime.monotonicMs() + timeoutMs;
      this.#start(new CallRequest(this.#idNext++, deadlineMs, message, resolve, reject));
    });
  }

  release(lease: HeldLease): Promise<boolean> {
    return this.#release(lease.token, lease.terms.name, lease);
  }

  /** Ends any hold by its token. One that this client has itself is not believed in from now on. */
  releaseAny(token: number, name: string): Promise<boolean> {
    const lease = this.#holds.get(token);
    return lease?.terms.name === name ? lease.release() : this.#release(token, name, null);
  }

  ended(lease: HeldLease): void {
    if (lease.isHeld && lease.terms.detachedMs === null) this.#holds.lost(lease);
  }

  ranOut(lease: HeldLease): void {
    this.#trust.check();
    this.#lose(lease, "its lease ran out");
  }

  forget(lease: HeldLease): void {
    this.#holds.forget(lease);
    this.#keepAliveAsNeeded();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  // --- requests ---

  #release(token: number, name: string, lease: HeldLease | null): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const deadlineMs = this.runtime.monotonicMs() + ANSWER_MS;
      this.#start(new ReleaseRequest(this.#idNext++, deadlineMs, token, name, lease, resolve, reject));
    });
  }

  #startAcquire(
    terms: AcquireTerms,
    endsAtMs: number,
    resolve: (lease: HeldLease) => void,
    reject: (reason: unknown) => void,
    signal: AbortSignal | undefined,
  ): void {
    const id = this.#idNext++;
    this.#start(new AcquireRequest(id, ANSWER_MS, endsAtMs, terms, this.#host, resolve, reject, signal));
  }

  #start(request: Request): void {
    if (this.#closed !== null) return request.fail(errorOf("CLOSED"));
    this.#post(request);
  }

  #post(request: Request): void {
    this.#requests.set(request.id, request);
    if (this.#isResumed) this.#send(request);
    else if (!this.#connector.isOpen) this.#want();
    this.#keepAliveAsNeeded();
  }

  #send(request: Request): void {
    request.sent(this.#connector.send(request.message(this.runtime.monotonicMs())));
  }

  /** The caller has given up. The server is told until it confirms: a grant on its way is taken back (Q7). */
  #abandon(request: Request): void {
    if (!this.#requests.delete(request.id)) return;
    if (request.wasSent) this.#cancel(request.id, null);
    this.#keepAliveAsNeeded();
  }

  /** @param token of a grant that nobody will use */
  #cancel(id: number, token: number | null): void {
    const message = this.#cancels.add(id, token);
    if (this.#isResumed) this.#connector.send(message);
  }

  // --- connection ---

  /**
   * A request that was given up is one that the server must hear of, but nobody waits for it. An idle client comes back
   * too, however long the server is away: after a crash that grants nothing until it has heard of all, or waits for a
   * lease (R4).
   */
  get #isWanted(): boolean {
    if (this.#requests.size > 0 || this.#holds.size > 0 || this.#cancels.size > 0) return true;
    return this.#welcomed && this.#closed === null && !this.#isRefused;
  }

  #want(): void {
    this.#wantedSince ??= this.runtime.monotonicMs();
    this.#connector.want();
    this.#sweepTimer ??= this.runtime.setTimer(() => this.#sweep(), SWEEP_MS, false);
  }

  #opened(): void {
    const { service, leaseMs, owner } = this.#options;
    this.#isWelcomedHere = false;
    this.#beforeWelcome.length = 0;
    // What is out of time by now must not be asked again: its answers are not kept for ever (Q6).
    this.#sweep();
    // Whoever hears of a loss may ask for something at once: that goes out below, in the order of the ids.
    this.#trust.check();
    const [client, session, connection, resume] = [
      this.#client,
      this.#session,
      ++this.#connection,
      this.#welcomed,
    ];
    const hello = { service, client, session, connection, resume, leaseMs, owner };
    this.#helloAt = this.#connector.send(["hello", hello]);
    for (const claim of this.#holds.claims()) this.#connector.send(claim);
    for (const cancel of this.#cancels.again()) this.#connector.send(cancel);
    for (const request of this.#requests.values()) this.#send(request);
    this.#connector.send(["sync"]);
    this.#isResumed = true;
    this.#welcomeTimer = this.runtime.setTimer(() => this.#noAnswer(), ANSWER_MS, false);
  }

  #received(messages: readonly ServerMessage[]): void {
    for (const message of messages) {
      if (!this.#connector.isOpen) return;
      // Until the welcome it is not known what of this connection the server has heard, and what renews the session. A
      // loss is heard at once, and once more after the grant that may stand before it.
      const isEarly = !this.#isWelcomedHere;
      if (isEarly && (message[0] === "lost" || !UNASKED.has(message[0]))) this.#beforeWelcome.push(message);
      if (!isEarly || UNASKED.has(message[0])) this.#take(message);
    }
    // What is only put aside is not acknowledged: it may be gone with the connection.
    if (this.#isWelcomedHere) this.#connector.acknowledge();
    this.#keepAliveAsNeeded();
  }

  #welcome(): void {
    this.#isWelcomedHere = true;
    this.#welcomed = true;
    this.#everWelcomed = true;
    this.#isRefused = false;
    this.#holds.claimsHeard();
    this.#wantedSince = null;
    this.#connector.settled();
    this.#trust.renew(this.#helloAt!);
    this.#welcomeTimer?.cancel();
    this.#heartbeats.start();
    this.#received(this.#beforeWelcome.splice(0));
  }

  #take(message: ServerMessage): void {
    switch (message[0]) {
      case "granted":
      case "done":
      case "refused":
        return this.#answered(message);
      case "queued": {
        const request = this.#requests.get(message[1]);
        if (!(request instanceof AcquireRequest)) return;
        request.queued(message[2]);
        this.#trust.renew(request.sentAt!);
        return this.#heartbeats.mind(request);
      }
      case "welcome":
        return this.#welcome();
      case "lost": {
        const why = message[2] === "force" ? "it was freed by force" : "the server ended it";
        this.#holds.ended(message[1]);
        return this.#holds.get(message[1])?.lose(why);
      }
      case "ended":
        return this.#ended(message[1], message[2]);
      case "error":
        // The server could not read us: nothing that we say will be answered as it should. If it was a hold that we
        // named, it is free by now.
        this.#loseAll("the server could not read what was said of it");
        this.#failAll(errorOf(message[1], message[2]));
        return this.#connector.drop(message[2]);
    }
  }

  #answered(answer: FinalAnswer): void {
    const request = this.#requests.get(answer[1]);
    if (request === undefined) return this.#answeredLate(answer);
    // Server or session will be gone in a moment, and says so: the request stays, and goes out again.
    if (answer[0] === "refused" && (answer[2] === "UNAVAILABLE" || answer[2] === "SESSION_ENDED")) return;
    this.#requests.delete(request.id);
    // A refusal need not come from the session: a message that cannot be read renews nothing.
    if (answer[0] !== "refused") this.#trust.renew(request.sentAt!);
    request.settle(answer);
  }

  /** Whoever asked has given up, or has this answer already: a grant may be told twice after a resume. */
  #answeredLate(answer: FinalAnswer): void {
    const [kind, id] = answer;
    if (!this.#cancels.has(id)) return;
    // The cancel alone may find nothing: a frame that carries it acknowledges the grant that has just come.
    if (kind === "granted") return this.#cancel(id, answer[2]);
    if (kind === "refused" && (answer[2] === "UNAVAILABLE" || answer[2] === "SESSION_ENDED")) return;
    this.#cancels.answered(id);
  }

  #granted(request: AcquireRequest, [, , token, extra]: Granted): void {
    const { terms, resolve, reject, endsAtMs, signal } = request;
    const lease = new HeldLease(this, token, terms, request.grantedAfter(this.#trust.renewedAt), extra);
    if (lease.remainingMs > 0) {
      if (terms.detachedMs === null) this.#holds.add(lease);
      return resolve(lease);
    }
    // Too late to be trusted: it is given back, and asked for again in what is left of the time (L5).
    lease.lose("its grant came too late");
    this.#cancel(request.id, token);
    if (endsAtMs > this.runtime.monotonicMs()) {
      return this.#startAcquire(terms, endsAtMs, resolve, reject, signal);
    }
    reject(new LockTimeoutError("The lock was granted too late to be used. Try again, or wait longer."));
  }

  /** It is not trusted any more, and somebody has worked under it: the next holder is told (Q11). */
  #sayLost(token: number): void {
    const done = () => this.#holds.ended(token);
    const deadlineMs = this.runtime.monotonicMs() + ANSWER_MS;
    this.#post(
      new CallRequest(
        this.#idNext++,
        deadlineMs,
        (id) => ["abandon", id, token],
        done,
        () => {},
      ),
    );
  }

  #ended(code: ErrorCode, text: string): void {
    // Nothing that is said on this connection from here on is heard.
    this.#isResumed = false;
    if (code === "SESSION_ENDED") {
      this.#loseAll("the server ended the session");
      this.#holds.forgetLost();
      this.#session = this.#newSessionId();
      this.#connection = 0;
      this.#welcomed = false;
      this.#trust.reset();
      for (const request of this.#requests.values()) {
        if (request instanceof AcquireRequest) request.sessionEnded();
      }
    } else if (code !== "UNAVAILABLE") {
      this.#failAll(errorOf(code, text));
    }
    this.#connector.drop(text);
  }

  #disconnected(reason: string, code: ErrorCode | null): void {
    this.#lastFailure = reason;
    this.#isResumed = false;
    for (const request of this.#requests.values()) {
      if (request instanceof AcquireRequest) request.disconnected(this.#trust.renewedAt);
    }
    this.#welcomeTimer?.cancel();
    this.#heartbeats.stop();
    if (this.#heartbeat !== null) this.#requests.delete(this.#heartbeat.id);
    this.#heartbeat = null;
    if (code !== null && code !== "UNAVAILABLE") {
      this.#isRefused = true;
      this.#failAll(errorOf(code, code === "UNAUTHORIZED" ? undefined : reason));
      this.#cancels.clear();
    }
    if (this.#isWanted) this.#want();
    this.#keepAliveAsNeeded();
  }

  #failAll(error: LockDBError): void {
    for (const request of [...this.#requests.values()]) {
      this.#requests.delete(request.id);
      request.fail(error);
    }
  }

  #loseAll(why: string): void {
    for (const lease of this.#holds.held) this.#lose(lease, why);
  }

  #lose(lease: HeldLease, why: string): void {
    const isOurs = lease.isHeld && lease.terms.detachedMs === null;
    lease.lose(why);
    if (!isOurs) return;
    // The server may still have it, and nobody will use it any more. A resume says so, too.
    this.#holds.lost(lease);
    if (this.#isResumed) this.#sayLost(lease.token);
  }

  /** The one request that nobody waits for: it does not count as work. */
  #sendHeartbeat(answered: () => void): void {
    const settled = () => {
      this.#heartbeat = null;
      answered();
    };
    const never = Number.POSITIVE_INFINITY;
    this.#heartbeat = new CallRequest(this.#idNext++, never, (id) => ["heartbeat", id], settled, settled);
    this.#post(this.#heartbeat);
  }

  #noAnswer(): void {
    this.#connector.drop("the server does not answer");
  }

  // --- housekeeping ---

  /** Gives up requests whose time is over, and all of them when no server was ever reached. */
  #sweep(): void {
    this.#sweepTimer?.cancel();
    this.#sweepTimer = null;
    const nowMs = this.runtime.monotonicMs();
    const neverReached =
      !this.#everWelcomed && this.#wantedSince !== null && nowMs - this.#wantedSince >= FIRST_CONNECT_MS;
    for (const request of [...this.#requests.values()]) {
      if (!neverReached && request.deadlineMs > nowMs) continue;
      this.#abandon(request);
      request.fail(request.outOfTime(this.#connector.isOpen ? null : this.#lastFailure));
    }
    if (neverReached) this.#wantedSince = null;
    this.#keepAliveAsNeeded();
  }

  /** Only work that somebody waits for keeps the process alive: requests, and locks that are held. */
  #keepAliveAsNeeded(): void {
    const hasWork = this.#requests.size > (this.#heartbeat === null ? 0 : 1);
    this.#connector.keepAlive(hasWork || this.#holds.size > 0);
    if (hasWork) this.#sweepTimer ??= this.runtime.setTimer(() => this.#sweep(), SWEEP_MS, false);
  }

  #newSessionId(): string {
    return `${this.#client}-${++this.#sessionCount}`;
  }

  async #close(): Promise<void> {
    // Whoever hears of it below may call us at once: by then we are closed.
    await null;
    for (const request of [...this.#requests.values()]) {
      this.#abandon(request);
      request.fail(errorOf("CLOSED"));
    }
    for (const lease of this.#holds.held) lease.lose("the client was closed");
    if (this.#isResumed) {
      // The goodbye alone would give back what was lost.
      for (const { token } of this.#holds.lostOnes) this.#connector.send(["abandon", this.#idNext++, token]);
      await this.#sayBye();
    }
    this.#holds.forgetLost();
    this.#trust.reset();
    this.#welcomeTimer?.cancel();
    this.#heartbeats.stop();
    this.#sweepTimer?.cancel();
    this.#connector.close();
  }

  #sayBye(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.runtime.setTimer(resolve, BYE_MS, true);
      const done = () => {
        timer.cancel();
        resolve();
      };
      const deadlineMs = this.runtime.monotonicMs() + BYE_MS;
      this.#post(new CallRequest(this.#idNext++, deadlineMs, (id) => ["bye", id], done, done));
    });
  }
}
