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
