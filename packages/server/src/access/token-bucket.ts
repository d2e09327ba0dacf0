/** So many a second, and more at once after a quiet while. */
export class TokenBucket {
  readonly ratePerS: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number | null = null;

  /** @param burst how many at once; default: those of a second */
  constructor(ratePerS: number, burst: number = ratePerS) {
    this.ratePerS = ratePerS;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** @param nowMs monotonic */
  take(nowMs: number): boolean {
    return this.borrow(nowMs, 0);
  }

  /** The same, also when there are none, up to so many: until they are made up for there are none. */
  borrow(nowMs: number, debtMax: number): boolean {
    this.#fill(nowMs);
    if (this.#tokens < 1 - debtMax) return false;
    this.#tokens--;
    return true;
  }

  /** Whole tokens that are there. */
  left(nowMs: number): number {
    this.#fill(nowMs);
    return Math.max(0, Math.floor(this.#tokens));
  }

  #fill(nowMs: number): void {
    const sinceMs = this.#atMs === null ? 0 : Math.max(0, nowMs - this.#atMs);
    this.#atMs = nowMs;
    this.#tokens = Math.min(this.#burst, this.#tokens + (sinceMs * this.ratePerS) / 1_000);
  }
}
