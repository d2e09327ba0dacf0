/** The longest step of the lease clock (L3). A longer gap means that this process, not its clients, stood still. */
const STEP_MS_MAX = 250;

/**
 * The clock that leases run on. It never runs faster than real time, stops while the server does, and goes on from
 * where it was after a restart (L3, R6). Nothing here reads a clock: the caller passes monotonic time in.
 */
export class LeaseClock {
  #nowMs: number;
  #readAtMs: number;

  constructor(startMs: number, monotonicMs: number) {
    this.#nowMs = startMs;
    this.#readAtMs = monotonicMs;
  }

  /** Lease time when it was read last. */
  get lastMs(): number {
    return Math.floor(this.#nowMs);
  }

  /** Whole milliseconds of lease time, after a step of at most 250 ms. */
  read(monotonicMs: number): number {
    const step = monotonicMs - this.#readAtMs;
    this.#readAtMs = monotonicMs;
    if (step > 0) this.#nowMs += Math.min(step, STEP_MS_MAX);
    return this.lastMs;
  }
}
