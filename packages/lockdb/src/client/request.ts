import type { AcquireExtra, ClientMessage, ServerMessage } from "../protocol/index.js";
import { ConnectionError, errorOf, LockDBError, LockTimeoutError } from "./errors.js";
import type { HeldLease, LeaseTerms, OwnLease } from "./lease.js";
import { laterOf, type Moment, trustedMs } from "./trust.js";

/** An answer that settles a request. */
export type FinalAnswer = Extract<ServerMessage, readonly ["granted" | "done" | "refused", ...unknown[]]>;

/** A request on its way: sent again under the same id until its answer is known (Q6). */
export abstract class Request {
  readonly id: number;
  /** When its caller stops waiting for it, on the monotonic clock; Infinity for never. */
  readonly deadlineMs: number;
  /** A moment before it was sent, on the present connection. */
  sentAt: Moment | null = null;
  wasSent = false;

  constructor(id: number, deadlineMs: number) {
    this.id = id;
    this.deadlineMs = deadlineMs;
  }

  sent(moment: Moment): void {
    this.sentAt = moment;
    this.wasSent = true;
  }

  /** Why it was not answered in time. @param failure of the connection; null when there is one */
  outOfTime(failure: string | null): LockDBError {
    if (failure === null) {
      return new LockTimeoutError("The server did not answer in time. Try again, or wait longer.");
    }
    return new ConnectionError(
      `The server could not be reached: ${failure}. Check its address and that it runs, then try again.`,
      this.wasSent,
    );
  }

  /** The message as it is sent in a turn that began at this time: waits get shorter. */
  abstract message(nowMs: number): ClientMessage;
  abstract settle(answer: FinalAnswer): void;
  abstract fail(error: LockDBError): void;
}

/** However short a hold is to be, nobody sends heartbeats faster. */
const BEAT_MS_MIN = 20;

/** What to ask for. Times are in milliseconds. */
export interface AcquireTerms extends LeaseTerms {
  /** Infinity: until it is given up. */
  readonly waitMs: number;
  /** Grants again what an enclosing hold has (D3). */
  readonly reentrant: boolean;
  /** Frees it by force from who holds it, and comes before all who wait. */
  readonly steal: boolean;
  /** Where the end of a detached hold is to be told (C5). */
  readonly webhookUrl: string | null;
}

/** What a request asks for that says nothing but its names and how long it waits. */
export const PLAIN_TERMS: Omit<AcquireTerms, "names" | "waitMs"> = Object.freeze({
  detachedMs: null,
  minHoldMs: null,
  maxHoldMs: null,
  metadata: null,
  leads: false,
  enclosing: Object.freeze([]),
  reentrant: false,
  steal: false,
  webhookUrl: null,
});

export type Granted = Extract<FinalAnswer, readonly ["granted", ...unknown[]]>;

/** Who makes requests for locks: what comes of one. */
export interface AcquireHost {
  granted(request: AcquireRequest, answer: Granted): void;
  /** Its caller's signal has aborted. */
  aborted(request: AcquireRequest): void;
}

/** A request for a lock. */
export class AcquireRequest extends Request {
  readonly terms: AcquireTerms;
  readonly endsAtMs: number;
  readonly resolve: (lease: OwnLease) => void;
  readonly reject: (reason: unknown) => void;
  /** Tokens of the holds that it is made inside of, as far as its service may know them. */
  readonly within: readonly number[];
  readonly #host: AcquireHost;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: (() => void) | undefined;
  ticket: number | null = null;
  /** The latest moment at which the server is known not to have granted it yet. */
  #ungrantedAt: Moment | null = null;
  /** It stands in the queue, and a grant would be told on the present connection. */
  #isQueued = false;

  constructor(
    id: number,
    graceMs: number,
    endsAtMs: number,
    terms: AcquireTerms,
    within: readonly number[],
    host: AcquireHost,
    resolve: (lease: OwnLease) => void,
    reject: (reason: unknown) => void,
    signal: AbortSignal | undefined,
  ) {
    super(id, endsAtMs + graceMs);
    this.endsAtMs = endsAtMs;
    this.terms = terms;
    this.within = within;
    this.resolve = resolve;
    this.reject = reject;
    this.#host = host;
    this.#signal = signal;
    if (signal === undefined) return;
    this.#onAbort = () => {
      host.aborted(this);
      reject(signal.reason);
    };
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal | undefined {
    return this.#signal;
  }

  /** How often its session must be renewed while it waits, so that its grant is not too old to be trusted. */
  get beatMs(): number {
    const spanMs = this.terms.detachedMs ?? this.terms.maxHoldMs;
    return spanMs === null ? Number.POSITIVE_INFINITY : Math.max(BEAT_MS_MIN, trustedMs(spanMs) / 4);
  }

  message(nowMs: number): ClientMessage {
    const { names, waitMs, detachedMs, minHoldMs, maxHoldMs, metadata, leads, reentrant, steal, webhookUrl } =
      this.terms;
    // The turn may have begun before the caller asked.
    const leftMs = Math.max(0, Math.ceil(Math.min(this.endsAtMs - nowMs, waitMs)));
    const left = waitMs === Number.POSITIVE_INFINITY ? null : leftMs;
    const { ticket, within } = this;
    const hasNoEnd = detachedMs === null && minHoldMs === null && maxHoldMs === null;
    if (hasNoEnd && metadata === null && ticket === null && within.length === 0 && !leads && !steal) {
      return ["acquire", this.id, names, left];
    }
    const extra: AcquireExtra = {
      ...(detachedMs === null ? {} : { detachedMs }),
      ...(minHoldMs === null ? {} : { minHoldMs }),
      ...(maxHoldMs === null ? {} : { maxHoldMs }),
      ...(metadata === null ? {} : { metadata }),
      ...(ticket === null ? {} : { ticket }),
      ...(within.length === 0 ? {} : { within }),
      // Without a hold around it there is nothing to enter again.
      ...(reentrant && within.length > 0 ? { reentrant } : {}),
      ...(leads ? { leads } : {}),
      ...(steal ? { steal } : {}),
      ...(webhookUrl === null ? {} : { webhookUrl }),
    };
    return ["acquire", this.id, names, left, extra];
  }

  /** The server says when the lock was not free in time. If it says nothing, it does not work. */
  override outOfTime(failure: string | null): LockDBError {
    return super.outOfTime(failure ?? "it does not answer");
  }

  override sent(moment: Moment): void {
    super.sent(moment);
    this.#ungrantedAt ??= moment;
  }

  /** The server has said that it waits. */
  queued(ticket: number): void {
    this.ticket = ticket;
    this.#isQueued = true;
  }

  /**
   * A moment before its grant: when it was first sent, or anything that was answered while it waited. When it was sent
   * again it may have been granted long before that: the answer was lost, and the hold's own time runs since then.
   */
  grantedAfter(renewedAt: Moment | null): Moment {
    const since = this.#ungrantedAt!;
    return this.#isQueued && renewedAt !== null ? laterOf(since, renewedAt) : since;
  }

  /** Another session asks: what the one before it was granted is over, unless it was detached. */
  sessionEnded(): void {
    if (this.terms.detachedMs === null) this.#ungrantedAt = null;
  }

  /** The connection is gone, and with it perhaps the grant. */
  disconnected(renewedAt: Moment | null): void {
    if (this.#ungrantedAt !== null) this.#ungrantedAt = this.grantedAfter(renewedAt);
    this.#isQueued = false;
  }

  settle(answer: FinalAnswer): void {
    this.#forgetSignal();
    if (answer[0] === "granted") this.#host.granted(this, answer);
    else this.reject(refusalOf(answer));
  }

  fail(error: LockDBError): void {
    this.#forgetSignal();
    this.reject(error);
  }

  #forgetSignal(): void {
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}

/** Any other request: its answer is the value of a `done`. */
export class CallRequest extends Request {
  readonly #message: (id: number) => ClientMessage;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (error: LockDBError) => void;

  constructor(
    id: number,
    deadlineMs: number,
    message: (id: number) => ClientMessage,
    resolve: (value: unknown) => void,
    reject: (error: LockDBError) => void,
  ) {
    super(id, deadlineMs);
    this.#message = message;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  message(): ClientMessage {
    return this.#message(this.id);
  }

  settle(answer: FinalAnswer): void {
    if (answer[0] === "done") this.#resolve(answer[2]);
    else this.#reject(refusalOf(answer));
  }

  fail(error: LockDBError): void {
    this.#reject(error);
  }
}

/** The end of a hold. True when this ended it, false when it was over already. */
export class ReleaseRequest extends Request {
  readonly #token: number;
  readonly #name: string | null;
  readonly #lease: HeldLease | null;
  readonly #resolve: (released: boolean) => void;
  readonly #reject: (error: LockDBError) => void;

  /**
   * @param name guards against another lock's token, which a lease of our own cannot have
   * @param lease this client's own, which is forgotten when the hold is over or nobody will ask any more
   */
  constructor(
    id: number,
    deadlineMs: number,
    token: number,
    name: string | null,
    lease: HeldLease | null,
    resolve: (released: boolean) => void,
    reject: (error: LockDBError) => void,
  ) {
    super(id, deadlineMs);
    this.#token = token;
    this.#name = name;
    this.#lease = lease;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  message(): ClientMessage {
    if (this.#name === null) return ["release", this.id, this.#token];
    return ["release", this.id, this.#token, this.#name];
  }

  settle(answer: FinalAnswer): void {
    this.#lease?.over();
    if (answer[0] === "done") this.#resolve(answer[2] === true);
    else if (answer[0] === "refused" && answer[2] === "NOT_HELD") this.#resolve(false);
    else this.#reject(refusalOf(answer));
  }

  fail(error: LockDBError): void {
    this.#lease?.over();
    this.#reject(error);
  }
}

function refusalOf(answer: FinalAnswer): LockDBError {
  if (answer[0] === "refused") return errorOf(answer[2], answer[3], answer[4] ?? {});
  return new LockDBError(
    "INTERNAL",
    "The server gave an answer of the wrong kind. Are client and server of one version?",
  );
}
