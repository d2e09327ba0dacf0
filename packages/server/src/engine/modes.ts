import type { LockNames } from "lockdb/protocol";

/**
 * How a request wants a lock. `permits: 0` is an ordinary lock, exclusive or shared. Else it is a semaphore with so many
 * permits, of which the request takes `weight`.
 */
export interface Mode {
  readonly shared: boolean;
  readonly permits: number;
  readonly weight: number;
}

export const EXCLUSIVE: Mode = { shared: false, permits: 0, weight: 1 };
export const SHARED: Mode = { shared: true, permits: 0, weight: 1 };

/** One of the locks that a request wants. */
export interface Want {
  readonly name: string;
  readonly mode: Mode;
}

/** The wants of a message or record. */
export function wantsOf(names: LockNames): readonly Want[] {
  if (typeof names === "string") return [{ name: names, mode: EXCLUSIVE }];
  return names.map((spec) => {
    if (typeof spec === "string") return { name: spec, mode: EXCLUSIVE };
    const [name, kind, weight = 1] = spec;
    if (kind === "shared") return { name, mode: SHARED };
    // An ordinary lock has one permit.
    return { name, mode: kind === 1 ? EXCLUSIVE : { shared: false, permits: kind, weight } };
  });
}

/** The same as a message or record has it. */
export function namesOf(wants: readonly Want[]): LockNames {
  const [first] = wants;
  if (wants.length === 1 && first!.mode === EXCLUSIVE) return first!.name;
  return wants.map(({ name, mode }) => {
    if (mode.permits > 0) return [name, mode.permits, mode.weight];
    return mode.shared ? [name, "shared"] : name;
  });
}

/** True when who has a lock in one mode may as well have asked for it in the other. */
export function covers(held: Mode, wanted: Mode): boolean {
  if (held.permits !== wanted.permits) return false;
  return held.permits > 0 ? wanted.weight <= held.weight : wanted.shared || !held.shared;
}

/** True when two can have a lock together, as far as these two are concerned. */
export function goTogether(a: Mode, b: Mode): boolean {
  if (a.permits !== b.permits) return false;
  return a.permits > 0 ? a.weight + b.weight <= a.permits : a.shared && b.shared;
}

/**
 * What is left of a lock for the next in line, beside those who hold it and those who wait before him. Whoever does not fit
 * fills it: nobody who came later, and would be in his way, may pass him (Q4, Q5).
 */
export class Room {
  isFull = false;
  #isTaken = false;
  #isShared = false;
  #permits = 0;
  #used = 0;

  get isEmpty(): boolean {
    return !this.#isTaken && !this.isFull;
  }

  fits(mode: Mode): boolean {
    if (this.isFull) return false;
    if (!this.#isTaken) return true;
    if (mode.permits > 0) return mode.permits === this.#permits && this.#used + mode.weight <= mode.permits;
    return mode.shared && this.#isShared;
  }

  take(mode: Mode): void {
    if (!this.fits(mode)) {
      this.isFull = true;
      return;
    }
    this.#isTaken = true;
    this.#isShared = mode.shared;
    this.#permits = mode.permits;
    this.#used += mode.weight;
    this.isFull = mode.permits === 0 ? !mode.shared : this.#used === mode.permits;
  }

  /** As if all holders had taken it, one after the other. */
  takeHeld(mode: Mode, used: number): void {
    this.#isTaken = true;
    this.#isShared = mode.shared;
    this.#permits = mode.permits;
    this.#used = used;
    this.isFull = mode.permits === 0 ? !mode.shared : used >= mode.permits;
  }
}
