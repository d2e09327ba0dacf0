/** So many a second, and as many at once after a quiet second. */
export class TokenBucket {
  readonly ratePerS: number;
  #tokens: number;
  #atMs: number | null = null;

  constructor(ratePerS: number) {
    this.ratePerS = ratePerS;
    this.#tokens = ratePerS;
  }

  /** @param nowMs monotonic */
  take(nowMs: number): boolean {
    this.#fill(nowMs);
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Whole tokens that are there. */
  left(nowMs: number): number {
    this.#fill(nowMs);
    return Math.floor(this.#tokens);
  }

  #fill(nowMs: number): void {
    const sinceMs = this.#atMs === null ? 0 : Math.max(0, nowMs - this.#atMs);
    this.#atMs = nowMs;
    this.#tokens = Math.min(this.ratePerS, this.#tokens + (sinceMs * this.ratePerS) / 1_000);
  }
}
