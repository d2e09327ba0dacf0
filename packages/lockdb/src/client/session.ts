import { NumberMap } from "#number-map";
import type { ClientMessage, ErrorCode, ServerMessage } from "../protocol/index.js";
import type { Runtime, Timer } from "../runtime/runtime.js";
import { Cancels } from "./cancels.js";
import { Connector } from "./connector.js";
import { tokensOf } from "./context.js";
import { ConnectionError, errorOf, type LockDBError } from "./errors.js";
import { granted } from "./granting.js";
import { Heartbeats } from "./heartbeats.js";
import type { HeldLease, OwnLease } from "./lease.js";
import { ANSWER_MS, Look } from "./look.js";
import { namesIn } from "./names.js";
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
import type { SessionOptions } from "./session-options.js";
import type { Tracing } from "./tracing.js";
import type { Moment } from "./trust.js";
import type { Watch } from "./watch.js";
import { Watches } from "./watches.js";

/** A client that never reached a server gives up after this long: the address is probably wrong. */
const FIRST_CONNECT_MS = 5_000;
const SWEEP_MS = 250;
const BYE_MS = 1_000;

/** Messages that answer something. All others, known here or not, stand for themselves. */
const ASKED: ReadonlySet<string> = new Set(["queued", "granted", "done", "refused", "event", "gap"]);

/**
 * The client's side of sessions: one at a time, resumed after every loss of connection (R3), replaced when the server
 * has ended it. What it holds, and for how long that can be trusted, is for `SessionHolds` to say.
 */
export class ClientSession {
  readonly runtime: Runtime;
  readonly look = new Look(this);
  /** Who is told of waits and holds; null: nobody. */
  tracing: Pick<Tracing, "acquire" | "withLock"> | null = null;
  readonly #options: SessionOptions;
  readonly #connector: Connector;
  readonly #client: string;
  /** By their ids. */
  readonly #requests = new NumberMap<Request>();
  readonly #holds: SessionHolds;
  readonly #cancels = new Cancels();
  readonly #watches: Watches;
  readonly #host: AcquireHost = {
    granted: (request, answer) => granted(this.#holds, request, answer),
    aborted: (request) => this.#abandon(request),
  };
  #session: string;
  #sessionCount = 0;
  #connection = 0;
  /** On the present connection everything has been said that a resume must say first. */
  #isResumed = false;
  #welcomed = false;
  #everReached = false;
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
    this.#watches = new Watches({
      say: (message) => {
        if (this.#isResumed) this.#connector.send(message);
        else if (!this.#connector.isOpen) this.#want();
        return this.#isResumed;
      },
      changed: () => this.#keepAliveAsNeeded(),
    });
    const { service, leaseMs, urls } = options;
    this.#holds = new SessionHolds(runtime, leaseMs, {
      place: { service, servers: urls.join() },
      release: (lease) => this.#release(lease.token, null, lease),
      giveBack: ({ id }, token) => this.#cancel(id, token),
      askAgain: ({ terms, endsAtMs, resolve, reject, signal }, waitMs) =>
        this.#startAcquire({ ...terms, waitMs }, endsAtMs, resolve, reject, signal),
      inspect: (name, token) => this.look.inspect(name, token),
      sayLost: (token, heard) => {
        if (this.#isResumed) this.#sayLost(token, heard);
      },
      changed: () => this.#keepAliveAsNeeded(),
    });
    this.#heartbeats = new Heartbeats(runtime, options.leaseMs, {
      ageMs: () => this.#holds.ageMs,
      isPending: ({ id }) => this.#requests.has(id),
      send: (answered) => this.#sendHeartbeat(answered),
      failed: () => this.#noAnswer(),
    });
    this.#connector = new Connector(runtime, options.urls, options.apiKey, {
      isWanted: () => this.#isWanted,
      isQuiet: () => this.#requests.size <= 1,
      opened: () => this.#opened(),
      received: (messages) => this.#received(messages),
      closed: (reason, code) => this.#disconnected(reason, code),
    });
  }

  /** Stands in the queue until granted, refused, out of time or aborted. */
  acquire(terms: AcquireTerms, signal?: AbortSignal): Promise<OwnLease> {
    return this.tracing === null ? this.ask(terms, signal) : this.tracing.acquire(terms, signal);
  }

  /** The same, and nobody is told. */
  ask(terms: AcquireTerms, signal: AbortSignal | undefined): Promise<OwnLease> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const endsAtMs = this.runtime.monotonicMs() + terms.waitMs;
      this.#startAcquire(terms, endsAtMs, resolve, reject, signal);
    });
  }

  /** How long its holds can be trusted. */
  get remainingMs(): number {
    return this.#holds.sessionRemainingMs();
  }

  /** One request and the value of its `done`. */
  call(timeoutMs: number, message: (id: number) => ClientMessage): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const deadlineMs = this.runtime.monotonicMs() + timeoutMs;
      this.#start(new CallRequest(this.#idNext++, deadlineMs, message, resolve, reject));
    });
  }

  /** Events of locks whose names begin with a prefix, from now on. */
  watch(query: { readonly prefix?: string }): Watch {
    if (this.#closed !== null) throw errorOf("CLOSED");
    return this.#watches.add(this.#idNext++, query);
  }

  /** Ends any hold by its token. One that this client has itself is not believed in from now on. */
  releaseAny(token: number, name: string): Promise<boolean> {
    const lease = this.#holds.ownHold(token);
    const isOwn = lease !== undefined && namesIn(lease.terms.names).includes(name);
    return isOwn ? lease.release() : this.#release(token, name, null);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  // --- requests ---

  #release(token: number, name: string | null, lease: HeldLease | null): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const deadlineMs = this.runtime.monotonicMs() + ANSWER_MS;
      this.#start(new ReleaseRequest(this.#idNext++, deadlineMs, token, name, lease, resolve, reject));
    });
  }

  #startAcquire(
    terms: AcquireTerms,
    endsAtMs: number,
    resolve: (lease: OwnLease) => void,
    reject: (reason: unknown) => void,
    signal: AbortSignal | undefined,
  ): void {
    const id = this.#idNext++;
    const within = tokensOf(terms.enclosing, this.#holds.place);
    this.#start(
      new AcquireRequest(id, ANSWER_MS, endsAtMs, terms, within, this.#host, resolve, reject, signal),
    );
  }

  /** A copy, in the order of the ids, which is the order in which they are sent again. */
  get #inOrder(): readonly Request[] {
    return [...this.#requests.values()].sort((a, b) => a.id - b.id);
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
    const { monotonicMs } = this.#connector.turn();
    request.sent(this.#connector.send(request.message(monotonicMs)));
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
    if (this.#watches.size > 0) return true;
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
    this.#holds.check();
    const who = { client: this.#client, session: this.#session, connection: ++this.#connection };
    const { lastMove } = this.#connector;
    const hello = { service, ...who, resume: this.#welcomed, leaseMs, owner, ...lastMove };
    this.#helloAt = this.#connector.send(["hello", hello]);
    for (const claim of this.#holds.claims()) this.#connector.send(claim);
    for (const cancel of this.#cancels.again()) this.#connector.send(cancel);
    for (const request of this.#inOrder) this.#send(request);
    this.#connector.send(["sync"]);
    for (const message of this.#watches.again()) this.#connector.send(message);
    this.#isResumed = true;
    this.#welcomeTimer = this.runtime.setTimer(() => this.#noAnswer(), ANSWER_MS, false);
  }

  #received(messages: readonly ServerMessage[]): void {
    this.#everReached = true;
    this.#holds.lookAnew();
    for (const message of messages) {
      if (!this.#connector.isOpen) return;
      // Until the welcome it is not known what of this connection the server has heard, and what renews the session. A
      // loss is heard at once, and once more after the grant that may stand before it.
      const isEarly = !this.#isWelcomedHere;
      if (isEarly && (message[0] === "lost" || ASKED.has(message[0]))) this.#beforeWelcome.push(message);
      if (!isEarly || !ASKED.has(message[0])) this.#take(message);
      // Whoever hears of a loss does what he likes, for as long as he likes.
      if (message[0] !== "granted" && message[0] !== "done") this.#holds.lookAnew();
    }
    // What is only put aside is not acknowledged: it may be gone with the connection.
    if (this.#isWelcomedHere) this.#connector.acknowledge();
    this.#keepAliveAsNeeded();
  }

  #welcome(): void {
    this.#isWelcomedHere = true;
    this.#welcomed = true;
    this.#isRefused = false;
    this.#holds.claimsHeard();
    this.#wantedSince = null;
    this.#connector.settled();
    this.#holds.renew(this.#helloAt!);
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
        this.#holds.renew(request.sentAt!);
        return this.#heartbeats.mind(request);
      }
      case "welcome":
        return this.#welcome();
      case "lost": {
        const why = message[2] === "force" ? "it was freed by force" : "the server ended it";
        this.#holds.heardEnded(message[1]);
        return this.#holds.ownHold(message[1])?.lose(why);
      }
      case "asked":
        return this.#holds.ownHold(message[1])?.askFor(message[2]);
      case "event":
        return this.#watches.heard(message);
      case "gap":
        return this.#watches.leftOut(message[1], message[2]);
      case "ended":
        return this.#ended(message[1], message[2]);
      case "moved":
        // It renews nothing: what the one that says so has answered before it is all that it did for us (L2).
        return this.#connector.move(message[1], message[2], message[3]);
      case "members":
        return this.#connector.learn(message[1]);
      case "error":
        // The server could not read us: nothing that we say will be answered as it should. If it was a hold that we
        // named, it is free by now.
        this.#holds.loseAll("the server could not read what was said of it");
        this.#failAll(errorOf(message[1], message[2]));
        return this.#connector.drop(message[2]);
    }
  }

  #answered(answer: FinalAnswer): void {
    if (this.#watches.answered(answer)) return;
    const request = this.#requests.get(answer[1]);
    if (request === undefined) return this.#answeredLate(answer);
    // Server or session will be gone in a moment, and says so: the request stays, and goes out again.
    if (answer[0] === "refused" && (answer[2] === "UNAVAILABLE" || answer[2] === "SESSION_ENDED")) return;
    this.#requests.delete(request.id);
    // A refusal need not come from the session: a message that cannot be read renews nothing.
    if (answer[0] !== "refused") this.#holds.renew(request.sentAt!);
    request.settle(answer);
  }

  /** Whoever asked has given up, or has this answer already: a grant may be told twice after a resume. */
  #answeredLate(answer: FinalAnswer): void {
    const [kind, id] = answer;
    if (!this.#cancels.has(id)) return;
    // The cancel alone may find nothing: a frame that carries it acknowledges the grant that has just come.
    if (kind === "granted") return this.#cancel(id, answer[3]?.reentrant ? null : answer[2]);
    if (kind === "refused" && (answer[2] === "UNAVAILABLE" || answer[2] === "SESSION_ENDED")) return;
    this.#cancels.answered(id);
  }

  /** It is not trusted any more, and somebody has worked under it: the next holder is told (Q11). */
  #sayLost(token: number, heard: () => void): void {
    const deadlineMs = this.runtime.monotonicMs() + ANSWER_MS;
    this.#post(
      new CallRequest(
        this.#idNext++,
        deadlineMs,
        (id) => ["abandon", id, token],
        heard,
        () => {},
      ),
    );
  }

  #ended(code: ErrorCode, text: string): void {
    // Nothing that is said on this connection from here on is heard.
    this.#isResumed = false;
    if (code === "SESSION_ENDED") {
      this.#holds.loseAll("the server ended the session");
      this.#holds.reset();
      this.#session = this.#newSessionId();
      this.#connection = 0;
      this.#welcomed = false;
      for (const request of this.#inOrder) {
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
    // Also one that cannot serve anybody now says so.
    this.#everReached ||= code !== null;
    for (const request of this.#inOrder) {
      if (request instanceof AcquireRequest) request.disconnected(this.#holds.renewedAt);
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
    this.#watches.failAll(error);
    for (const request of this.#inOrder) {
      this.#requests.delete(request.id);
      request.fail(error);
    }
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
      !this.#everReached && this.#wantedSince !== null && nowMs - this.#wantedSince >= FIRST_CONNECT_MS;
    for (const request of this.#inOrder) {
      if (!neverReached && request.deadlineMs > nowMs) continue;
      this.#abandon(request);
      request.fail(request.outOfTime(this.#connector.isOpen ? null : this.#lastFailure));
    }
    // Who asks later begins anew.
    if (neverReached || !this.#isWanted) this.#wantedSince = null;
    if (neverReached) {
      this.#watches.failAll(new ConnectionError(`The server could not be reached: ${this.#lastFailure}.`));
    }
    this.#keepAliveAsNeeded();
  }

  /** Only work that somebody waits for keeps the process alive: requests, and locks that are held. */
  #keepAliveAsNeeded(): void {
    const hasWork = this.#requests.size > (this.#heartbeat === null ? 0 : 1) || this.#watches.areRead;
    this.#connector.keepAlive(hasWork || this.#holds.size > 0);
    if (hasWork) this.#sweepTimer ??= this.runtime.setTimer(() => this.#sweep(), SWEEP_MS, false);
  }

  #newSessionId(): string {
    return `${this.#client}-${++this.#sessionCount}`;
  }

  async #close(): Promise<void> {
    // Whoever hears of it below may call us at once: by then we are closed.
    await null;
    for (const request of this.#inOrder) {
      this.#abandon(request);
      request.fail(errorOf("CLOSED"));
    }
    this.#watches.endAll();
    for (const lease of this.#holds.held) lease.lose("the client was closed");
    if (this.#isResumed) {
      // The goodbye alone would give back what was lost.
      for (const { token } of this.#holds.lostOnes) this.#connector.send(["abandon", this.#idNext++, token]);
      await this.#sayBye();
    }
    this.#holds.reset();
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
