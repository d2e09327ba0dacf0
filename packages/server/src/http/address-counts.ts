/** Addresses that are remembered; beyond it the oldest is forgotten (N3). */
const ADDRESSES_MAX = 10_000;

/** How often something has come from each address lately. */
export class AddressCounts {
  readonly #max: number;
  readonly #windowMs: number;
  readonly #monotonicMs: () => number;
  readonly #byAddress = new Map<string, { count: number; readonly sinceMs: number }>();

  /** So many in a window; the window begins with the first. */
  constructor(max: number, windowMs: number, monotonicMs: () => number) {
    this.#max = max;
    this.#windowMs = windowMs;
    this.#monotonicMs = monotonicMs;
  }

  /** Counts one. @returns how many there are in this window, and how long it lasts if they are too many; else 0 */
  add(address: string): { readonly count: number; readonly waitMs: number } {
    const nowMs = this.#monotonicMs();
    let entry = this.#byAddress.get(address);
    if (entry === undefined || nowMs - entry.sinceMs >= this.#windowMs) {
      this.#byAddress.delete(address);
      if (this.#byAddress.size >= ADDRESSES_MAX) this.#byAddress.delete(this.#byAddress.keys().next().value!);
      entry = { count: 0, sinceMs: nowMs };
      this.#byAddress.set(address, entry);
    }
    entry.count++;
    return {
      count: entry.count,
      waitMs: entry.count > this.#max ? entry.sinceMs + this.#windowMs - nowMs : 0,
    };
  }
}
