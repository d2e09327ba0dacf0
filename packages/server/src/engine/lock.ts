import type { Listing } from "./listings.js";
import { type Mode, Room } from "./modes.js";
import type { Hold, Waiter } from "./state.js";

/** A named lock. It exists only while it is held or waited for. */
export class Lock {
  readonly name: string;
  /** The mode of those who hold it; null while it is free. */
  mode: Mode | null = null;
  /** Permits that are out, or the number of shared holders. */
  used = 0;
  holderCount = 0;
  /** Those who hold it, the newest first. */
  firstGrip: Grip | null = null;
  /** The queue, in ticket order: all who could be granted now. */
  first: Place | null = null;
  last: Place | null = null;
  /** Places whose sessions cannot be reached: they keep their tickets, and are passed over (Q7). */
  away: Set<Place> | null = null;
  /** All who wait, away or not. */
  waiterCount = 0;
  /**
   * The first in the queue for whom there is no room beside those who hold it and those before him; null: there is room for
   * all who wait, and they wait for other locks too. May lag behind until the lock is served: then it is one further on.
   */
  #blocked: Place | null = null;
  /** What those before him will take. */
  #fitting = 0;
  /** Those in the queue who want other locks too. */
  setCount = 0;
  /** All locks of the service, in the order in which they came to be held or waited for. */
  older: Lock | null = null;
  newer: Lock | null = null;
  /** Lists that go on here. Rare. */
  listings: Set<Listing> | null = null;

  constructor(name: string) {
    this.name = name;
  }

  /** The hold of an exclusive lock, or the newest of several. */
  get hold(): Hold | null {
    return this.firstGrip?.hold ?? null;
  }

  get isIdle(): boolean {
    return this.firstGrip === null && this.waiterCount === 0;
  }

  // --- holders ---

  attach(grip: Grip): void {
    const { mode } = grip;
    // By force, or as a claim, somebody may have it for whom there was no room.
    if (this.#fitting > 0 && !this.room().fits(mode)) this.rewind();
    this.mode = mode;
    this.used += mode.weight;
    this.holderCount++;
    grip.nextOfLock = this.firstGrip;
    if (this.firstGrip !== null) this.firstGrip.previousOfLock = grip;
    this.firstGrip = grip;
  }

  detach(grip: Grip): void {
    this.used -= grip.mode.weight;
    this.holderCount--;
    const { previousOfLock: previous, nextOfLock: next } = grip;
    if (previous === null) this.firstGrip = next;
    else previous.nextOfLock = next;
    if (next !== null) next.previousOfLock = previous;
    grip.previousOfLock = null;
    grip.nextOfLock = null;
    if (this.firstGrip === null) this.mode = null;
  }

  // --- room ---

  /** What is left beside the holders, and those in the queue before the first for whom there is no room. */
  room(): Room {
    const room = new Room();
    const mode = this.mode ?? (this.#fitting > 0 ? this.first!.mode : null);
    if (mode !== null) room.takeHeld(mode, this.used + this.#fitting);
    return room;
  }

  /** The first for whom there was no room when the lock was last served. */
  get blocked(): Place | null {
    return this.#blocked;
  }

  /** There is room for him now. */
  unblock(place: Place): void {
    this.#fitting += place.mode.weight;
    this.#blocked = place.next;
  }

  /** True when nobody who has it, or stands before a place in the queue, is in the way of that one. */
  hasRoomAt(place: Place): boolean {
    return this.#isFitting(place) || this.#roomBefore(place).fits(place.mode);
  }

  /** True when nobody who has it or waits for it is in the way of somebody new. */
  hasRoomFor(mode: Mode): boolean {
    return this.#roomBefore(null).fits(mode);
  }

  /** Looks at the whole queue when it is served the next time. */
  rewind(): void {
    this.#blocked = this.first;
    this.#fitting = 0;
  }

  #roomBefore(place: Place | null): Room {
    const room = this.room();
    for (let at = this.#blocked; at !== place && at !== null && !room.isFull; at = at.next)
      room.take(at.mode);
    return room;
  }

  /** Known to have room. */
  #isFitting({ isQueued, waiter }: Place): boolean {
    return isQueued && (this.#blocked === null || waiter.ticket < this.#blocked.waiter.ticket);
  }

  // --- the queue ---

  /** Adds a place with the highest ticket of all, at the end, or to those who are away. */
  add(place: Place, isAway: boolean): void {
    this.waiterCount++;
    if (isAway) this.#park(place);
    else {
      const hasRoom = this.#blocked === null && this.room().fits(place.mode);
      this.#insert(place, null);
      if (hasRoom) this.#fitting += place.mode.weight;
      else this.#blocked ??= place;
    }
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
    this.#park(place);
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

  #park(place: Place): void {
    this.away ??= new Set();
    this.away.add(place);
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
    if (place === this.#blocked) this.#blocked = next;
    else if (this.#isFitting(place)) this.#fitting -= place.mode.weight;
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

/** A hold's grip on one lock. A hold is its own first grip, since most have but one. */
export abstract class Grip {
  readonly lock: Lock;
  readonly mode: Mode;
  previousOfLock: Grip | null = null;
  nextOfLock: Grip | null = null;
  /** The next of its set. */
  nextOfHold: Grip | null = null;

  constructor(lock: Lock, mode: Mode) {
    this.lock = lock;
    this.mode = mode;
  }

  abstract get hold(): Hold;
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
