import type { Lock } from "./lock.js";
import type { Mode } from "./modes.js";
import type { Waiter } from "./state.js";

/**
 * Who waits for a lock, in ticket order: a linked list, since leaving it costs the same anywhere in it. It exists only while
 * somebody waits.
 */
export class Queue {
  /** All who could be granted now. */
  first: Place | null = null;
  last: Place | null = null;
  /** Places whose sessions cannot be reached: they keep their tickets, and are passed over (Q7). */
  away: Set<Place> | null = null;
  /** All who wait, away or not. */
  waiterCount = 0;
  /** Those in the queue who want other locks too. */
  setCount = 0;
  /**
   * The first for whom there is no room beside those who hold the lock and those before him; null: there is room for
   * all who wait, and they wait for other locks too. May lag behind until the lock is served: then it is one further on.
   */
  blocked: Place | null = null;
  /** What those before him will take. */
  fitting = 0;

  /** Looks at the whole queue when the lock is served the next time. */
  rewind(): void {
    this.blocked = this.first;
    this.fitting = 0;
  }

  /** There is room for him now. */
  unblock(place: Place): void {
    this.fitting += place.mode.weight;
    this.blocked = place.next;
  }

  /** Known to have room. */
  isFitting({ isQueued, waiter }: Place): boolean {
    return isQueued && (this.blocked === null || waiter.ticket < this.blocked.waiter.ticket);
  }

  /** Adds a place with the highest ticket of all, at the end. @param hasRoom nobody is in its way */
  append(place: Place, hasRoom: boolean): void {
    this.#insert(place, null);
    if (hasRoom) this.fitting += place.mode.weight;
    else this.blocked ??= place;
  }

  remove(place: Place): void {
    this.waiterCount--;
    if (place.isQueued) this.#unlink(place);
    else this.away?.delete(place);
  }

  /** Its session cannot be reached any more. */
  leave(place: Place): void {
    if (!place.isQueued) return;
    this.#unlink(place);
    this.park(place);
  }

  park(place: Place): void {
    this.away ??= new Set();
    this.away.add(place);
  }

  /** Places of one session, in ticket order, are back: one walk along the queue, however many they are. */
  comeBack(places: readonly Place[]): void {
    let next = this.first;
    for (const place of places) {
      this.away?.delete(place);
      while (next !== null && next.waiter.ticket < place.waiter.ticket) next = next.next;
      this.#insert(place, next);
    }
    this.rewind();
  }

  /** The first who wait, in ticket order, also those who are away. */
  firstWaiters(max: number): readonly Place[] {
    const places: Place[] = [];
    for (let place = this.first; place !== null && places.length < max; place = place.next)
      places.push(place);
    places.push(...this.#firstAway(max));
    return places.sort((a, b) => a.waiter.ticket - b.waiter.ticket).slice(0, max);
  }

  #firstAway(max: number): readonly Place[] {
    if (this.away === null || this.away.size === 0) return [];
    const tickets = Float64Array.from(this.away, (place) => place.waiter.ticket).sort();
    const highest = tickets[Math.min(max, tickets.length) - 1]!;
    return [...this.away].filter((place) => place.waiter.ticket <= highest);
  }

  #insert(place: Place, next: Place | null): void {
    const previous = next === null ? this.last : next.previous;
    place.isQueued = true;
    if (place.waiter.nextOfWaiter !== null) this.setCount++;
    place.previous = previous;
    place.next = next;
    if (previous === null) this.first = place;
    else previous.next = place;
    if (next === null) this.last = place;
    else next.previous = place;
  }

  #unlink(place: Place): void {
    const { previous, next } = place;
    if (place === this.blocked) this.blocked = next;
    else if (this.isFitting(place)) this.fitting -= place.mode.weight;
    place.isQueued = false;
    if (place.waiter.nextOfWaiter !== null) this.setCount--;
    place.previous = null;
    place.next = null;
    if (previous === null) this.first = next;
    else previous.next = next;
    if (next === null) this.last = previous;
    else next.previous = previous;
  }
}

/** A waiter's place in the queue of one lock. A waiter is its own first place. */
export abstract class Place {
  readonly lock: Lock;
  readonly mode: Mode;
  /** In the lock's queue; else its session is away. */
  isQueued = false;
  previous: Place | null = null;
  next: Place | null = null;
  /** The next of its set. */
  nextOfWaiter: Place | null = null;

  constructor(lock: Lock, mode: Mode) {
    this.lock = lock;
    this.mode = mode;
  }

  abstract get waiter(): Waiter;
}
