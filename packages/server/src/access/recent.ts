/** So much is counted together. */
const SLOT_MS = 250;
const SLOTS = 4;

/** How much there was of something within the last second. */
export class Recent {
  /** Of the slot that is now, and of those before it. */
  readonly #counts: number[] = new Array(SLOTS + 1).fill(0);
  #slot = 0;

  /** @param nowMs monotonic */
  add(nowMs: number): void {
    this.#goTo(nowMs);
    this.#counts[0]!++;
  }

  /** Of the oldest slot that part which is less than a second ago, as far as it came evenly. */
  count(nowMs: number): number {
    this.#goTo(nowMs);
    const past = nowMs / SLOT_MS - this.#slot;
    const oldest = this.#counts[SLOTS]! * (1 - past);
    return this.#counts.slice(0, SLOTS).reduce((sum, count) => sum + count, 0) + oldest;
  }

  #goTo(nowMs: number): void {
    const slot = Math.floor(nowMs / SLOT_MS);
    for (let step = Math.min(slot - this.#slot, SLOTS + 1); step > 0; step--) {
      this.#counts.unshift(0);
      this.#counts.pop();
    }
    this.#slot = Math.max(this.#slot, slot);
  }
}
