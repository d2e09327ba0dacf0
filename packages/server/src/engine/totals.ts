/** Counts in buckets. Observing costs a few comparisons and no memory; whoever wants text makes it of these numbers. */
export class Histogram {
  /** Upper bounds, ascending; above the last there is one bucket more. */
  readonly bounds: readonly number[];
  /** Of each bucket alone, and not of all below it. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = [...bounds, 0].map(() => 0);
  }

  /** @returns which bucket it fell into */
  observe(value: number): number {
    const { bounds } = this;
    let at = 0;
    while (at < bounds.length && value > bounds[at]!) at++;
    this.counts[at]!++;
    this.sum += value;
    return at;
  }
}

/** How a hold can end. Displaced: after a crash another claim has the lock under a higher token (R3). */
export type HoldEnd = "released" | "expired" | "forced" | "taken_back" | "displaced";

/** Milliseconds of lease time, from what nobody notices to what somebody should look at. */
export const SPANS_MS = [
  1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 7_200_000,
];

/** What has happened in one service since it came into memory: few numbers, since there may be many services. */
export class Tally {
  granted = 0;
  queued = 0;
  deadlocks = 0;
  released = 0;
  expired = 0;
  forced = 0;
  /** How many were granted a lock after how long, in the buckets of `Totals.waitMs`. */
  readonly waits: number[] = SPANS_MS.map(() => 0).concat(0);

  holdEnded(how: HoldEnd): void {
    if (how === "released" || how === "expired" || how === "forced") this[how]++;
  }
}

/**
 * What has happened since this process began, in all services that are given the same one. It decides nothing: an engine
 * only adds to it.
 */
export class Totals {
  granted = 0;
  /** Requests that were not granted at once. */
  queued = 0;
  /** Holds that were taken up from the store, or from a client that came back. */
  restored = 0;
  sessionsOpened = 0;
  sessionsExpired = 0;
  readonly ended: Record<HoldEnd, number> = {
    released: 0,
    expired: 0,
    forced: 0,
    taken_back: 0,
    displaced: 0,
  };
  /** How long those who were granted a lock had waited for it: 0 for who got it at once. */
  readonly waitMs = new Histogram(SPANS_MS);
  /** How long holds lasted, however they ended. */
  readonly heldMs = new Histogram(SPANS_MS);

  holdEnded(how: HoldEnd, heldMs: number): void {
    this.ended[how]++;
    // A claim says by itself since when.
    this.heldMs.observe(Math.max(0, heldMs));
  }
}
