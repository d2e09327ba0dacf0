/** What a slice is when nobody says so: with nothing but holds that stay packed it takes some 30 ms. */
const SLICE_MAX = 16_000;

/** What things cost, in holds that stay packed. */
export const COSTS = { packed: 1, made: 8, service: 25 } as const;

/** Counts what long work has cost, so that it can be done in slices: others have their turns in between. */
export class Slices {
  readonly #max: number;
  #spent = 0;

  constructor(max = SLICE_MAX) {
    this.#max = max;
  }

  /** True when a slice is full: the next one begins. */
  isFull(cost: number): boolean {
    this.#spent += cost;
    if (this.#spent < this.#max) return false;
    this.#spent = 0;
    return true;
  }
}
