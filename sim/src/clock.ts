/** The two clocks of one machine: monotonic time, which may stop in suspend, and wall time, which may jump. */
export class Clock {
  readonly #rate: number;
  readonly #bornMs: number;
  readonly #monotonicStartMs: number;
  #wallStartMs: number;
  #stoppedMs = 0;
  #stoppedSinceMs: number | null = null;

  constructor(bornMs: number, rate: number, monotonicStartMs: number, wallStartMs: number) {
    this.#bornMs = bornMs;
    this.#rate = rate;
    this.#monotonicStartMs = monotonicStartMs;
    this.#wallStartMs = wallStartMs;
  }

  monotonicMs(atMs: number): number {
    const stoppedMs = this.#stoppedMs + (this.#stoppedSinceMs === null ? 0 : atMs - this.#stoppedSinceMs);
    return this.#monotonicStartMs + (atMs - this.#bornMs - stoppedMs) * this.#rate;
  }

  wallMs(atMs: number): number {
    return Math.floor(this.#wallStartMs + (atMs - this.#bornMs) * this.#rate);
  }

  /** How long until the monotonic clock shows this, if it goes on. */
  untilMs(atMs: number, monotonicMs: number): number {
    return (monotonicMs - this.monotonicMs(atMs)) / this.#rate;
  }

  jump(ms: number): void {
    this.#wallStartMs += ms;
  }

  suspend(atMs: number): void {
    this.#stoppedSinceMs ??= atMs;
  }

  resume(atMs: number): void {
    if (this.#stoppedSinceMs === null) return;
    this.#stoppedMs += atMs - this.#stoppedSinceMs;
    this.#stoppedSinceMs = null;
  }
}
