import type { Runtime, Timer } from "../runtime/runtime.js";

const WATCH_MS_MIN = 1_000;
const WATCH_MS_MAX = 60_000;

/** One moment on both clocks of this machine. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/**
 * How long a holder may trust a time span that the server measures, counted from a moment before the server began
 * to: less 1 % for clock rates, less a margin (L2). May be negative for very short spans.
 */
export function trustedMs(spanMs: number): number {
  return spanMs * 0.99 - Math.max(200, spanMs * 0.02);
}

/**
 * Time passed since a moment: the longer of what the two clocks say. Monotonic time may stop while the machine is
 * suspended; wall time may be set back (L2).
 */
export function elapsedMs(since: Moment, now: Moment): number {
  return Math.max(now.monotonicMs - since.monotonicMs, now.wallMs - since.wallMs);
}

/** The later of two moments, by the clock that cannot be set. */
export function laterOf(a: Moment, b: Moment): Moment {
  return b.monotonicMs > a.monotonicMs ? b : a;
}

export function now(runtime: Runtime): Moment {
  return { monotonicMs: runtime.monotonicMs(), wallMs: runtime.wallMs() };
}

/**
 * How long to sleep when something ends in `restMs`. Timers run on the monotonic clock, which stands still in a suspend:
 * the clocks are read now and then, so that what ended meanwhile is noticed soon afterwards (L2, L5).
 */
export function watchMs(restMs: number): number {
  return Math.max(1, Math.min(Math.ceil(restMs), WATCH_MS_MAX, Math.max(WATCH_MS_MIN, restMs / 100)));
}

/** What happens when renewals fail. */
export interface TrustEvents {
  /** Half of the lease has passed without a renewal (L6). Once, until the next renewal. */
  atRisk(remainingMs: number): void;
  /** The session's holds can no longer be trusted (L5). */
  over(): void;
}

/** How long a session can be trusted, by this machine's clocks and nothing else (L2, L5). */
export class SessionTrust {
  readonly #runtime: Runtime;
  readonly #leaseMs: number;
  readonly #events: TrustEvents;
  /** A moment before the server last renewed the session, as far as is known. */
  #renewedAt: Moment | null = null;
  #isOver = false;
  #warned = false;
  #timer: Timer | null = null;

  constructor(runtime: Runtime, leaseMs: number, events: TrustEvents) {
    this.#runtime = runtime;
    this.#leaseMs = leaseMs;
    this.#events = events;
  }

  get renewedAt(): Moment | null {
    return this.#renewedAt;
  }

  /** Time since the last renewal; Infinity before the first. */
  get ageMs(): number {
    if (this.#renewedAt === null) return Number.POSITIVE_INFINITY;
    return elapsedMs(this.#renewedAt, now(this.#runtime));
  }

  /** Zero or less when holds must not be used any more. */
  get remainingMs(): number {
    return this.remainingAt(now(this.#runtime));
  }

  /** The same at a moment that has been read already. */
  remainingAt(moment: Moment): number {
    if (this.#renewedAt === null) return Number.NEGATIVE_INFINITY;
    return trustedMs(this.#leaseMs) - elapsedMs(this.#renewedAt, moment);
  }

  /** Half of the lease has passed without a renewal (L6). */
  get isAtRisk(): boolean {
    return this.#renewedAt !== null && this.ageMs >= this.#leaseMs / 2;
  }

  /** The server has renewed the session at some time after this moment. */
  renew(moment: Moment): void {
    // All that left in one frame was sent at one moment.
    if (this.#renewedAt !== null && moment.monotonicMs <= this.#renewedAt.monotonicMs) return;
    // Trust that has run out never comes back: what was held then is lost, even if no timer has fired yet.
    this.check();
    this.#renewedAt = moment;
    this.#isOver = false;
    this.#warned = false;
    this.#timer ??= this.#setTimer();
  }

  /** Reads the clocks, and says so if trust has run out. */
  check(): void {
    if (this.#renewedAt === null || this.#isOver || this.remainingMs > 0) return;
    this.#isOver = true;
    this.#events.over();
  }

  /** A new session begins. */
  reset(): void {
    this.#renewedAt = null;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #setTimer(): Timer {
    const { ageMs } = this;
    const halfMs = this.#leaseMs / 2;
    const nextMs = ageMs < halfMs ? halfMs : trustedMs(this.#leaseMs);
    return this.#runtime.setTimer(() => this.#watch(), watchMs(nextMs - ageMs), false);
  }

  #watch(): void {
    this.#timer = null;
    this.check();
    if (this.#isOver) return;
    this.#timer = this.#setTimer();
    if (this.#warned || !this.isAtRisk) return;
    this.#warned = true;
    this.#events.atRisk(Math.floor(this.remainingMs));
  }
}
