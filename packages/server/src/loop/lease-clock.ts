/** The longest step of the lease clock (L3). A longer gap means that this process, not its clients, stood still. */
const STEP_MS_MAX = 250;

/** A gap as long as this has cost clients their connections: they all come back at once when it is over. */
const STALL_MS = 1_000;

/** For as long as the stall took, and at most so long, the clock stands still after it, so that all get through. */
const REST_MS_MAX = 2_000;

/**
 * The clock that leases run on. It never runs faster than real time, stops while the server does, and goes on from
 * where it was after a restart (L3, R6). Nothing here reads a clock: the caller passes monotonic time in.
 */
export class LeaseClock {
  #nowMs: number;
  #readAtMs: number;
  #restMs = 0;

  constructor(startMs: number, monotonicMs: number) {
    this.#nowMs = startMs;
    this.#readAtMs = monotonicMs;
  }

  /** Lease time when it was read last. */
  get lastMs(): number {
    return Math.floor(this.#nowMs);
  }

  /**
   * Whole milliseconds of lease time, after a step of at most 250 ms.
   * @param isSampled it is read several times a second at present, so that a long gap is a stall and no idleness
   */
  read(monotonicMs: number, isSampled: boolean): number {
    const step = Math.max(0, monotonicMs - this.#readAtMs);
    this.#readAtMs = monotonicMs;
    const rested = Math.min(step, this.#restMs);
    this.#restMs -= rested;
    if (isSampled && step >= STALL_MS) this.#restMs = Math.min(step, REST_MS_MAX);
    this.#nowMs += Math.min(step - rested, STEP_MS_MAX);
    return this.lastMs;
  }
}
