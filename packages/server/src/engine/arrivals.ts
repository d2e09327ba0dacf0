import type { Waiter } from "./state.js";

/**
 * All who wait in a service, in the order in which they came, whatever for: so those who have waited long are found
 * without a look at all others.
 */
export class Arrivals {
  #newest: Waiter | null = null;
  #oldest: Waiter | null = null;
  /** The oldest who was not told of as slow yet. */
  #next: Waiter | null = null;

  add(waiter: Waiter): void {
    waiter.cameAfter = this.#newest;
    if (this.#newest !== null) this.#newest.cameBefore = waiter;
    this.#newest = waiter;
    this.#oldest ??= waiter;
    this.#next ??= waiter;
  }

  remove(waiter: Waiter): void {
    const { cameAfter, cameBefore } = waiter;
    if (this.#newest === waiter) this.#newest = cameAfter;
    if (this.#oldest === waiter) this.#oldest = cameBefore;
    if (this.#next === waiter) this.#next = cameBefore;
    if (cameAfter !== null) cameAfter.cameBefore = cameBefore;
    if (cameBefore !== null) cameBefore.cameAfter = cameAfter;
    waiter.cameAfter = null;
    waiter.cameBefore = null;
  }

  /** Those who have waited longest, the first first. */
  first(max: number): readonly Waiter[] {
    const waiters: Waiter[] = [];
    for (let at = this.#oldest; at !== null && waiters.length < max; at = at.cameBefore) waiters.push(at);
    return waiters;
  }

  /** The next, each once, who came at this time or before; null: nobody more. */
  takeSlow(cameByMs: number): Waiter | null {
    const waiter = this.#next;
    if (waiter === null || waiter.since > cameByMs) return null;
    this.#next = waiter.cameBefore;
    return waiter;
  }
}
