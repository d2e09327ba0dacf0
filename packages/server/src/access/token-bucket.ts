/** So many a second, and more at once after a quiet while. */
export class TokenBucket {
  readonly ratePerS: number;
  readonly #burst: number;
  readonly #part: () => number;
  #tokens: number;
  #atMs: number | null = null;

  /**
   * @param burst how many at once; default: those of a second
   * @param part which part of all this is to be had here now, from 0 to 1; default: all
   */
  constructor(ratePerS: number, burst: number = ratePerS, part: () => number = () => 1) {
    this.ratePerS = ratePerS;
    this.#burst = burst;
    this.#part = part;
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
    const part = this.#part();
    // Less than one would be none, for ever.
    const most = Math.min(this.#burst, Math.max(1, part * this.#burst));
    this.#tokens = Math.min(most, this.#tokens + (sinceMs * part * this.ratePerS) / 1_000);
  }
}
