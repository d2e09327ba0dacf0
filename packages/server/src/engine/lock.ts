import { type Mode, Room } from "./modes.js";
import { type Place, Queue } from "./queue.js";
import type { Hold } from "./state.js";

/** What goes over all locks, in more than one step. */
export interface Walk {
  /** The lock that it has come to is over: this is the next; null at the end. */
  moveTo(lock: Lock | null): void;
}

/** A named lock. It exists only while it is held or waited for. */
export class Lock {
  readonly name: string;
  /** Permits that are out, or the number of shared holders. */
  used = 0;
  holderCount = 0;
  /** Those who hold it, the newest first. */
  firstGrip: Grip | null = null;
  /** Null while nobody waits, which is almost always. */
  #queue: Queue | null = null;
  /** All locks of the service, in the order in which they came to be held or waited for. */
  older: Lock | null = null;
  newer: Lock | null = null;
  /** Lists and walks that go on here. Rare. */
  listings: Set<Walk> | null = null;

  constructor(name: string) {
    this.name = name;
  }

  /** The hold of an exclusive lock, or the newest of several. */
  get hold(): Hold | null {
    return this.firstGrip === null ? null : this.firstGrip.hold;
  }

  /** How those hold it who do; null while it is free. */
  get mode(): Mode | null {
    return this.firstGrip === null ? null : this.firstGrip.mode;
  }

  get isIdle(): boolean {
    return this.firstGrip === null && this.#queue === null;
  }

  // --- holders ---

  attach(grip: Grip): void {
    const { mode } = grip;
    // By force, or as a claim, somebody may have it for whom there was no room.
    if (this.#fitting > 0 && !this.room().fits(mode)) this.rewind();
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
  }

  // --- room ---

  /** What is left beside the holders, and those in the queue before the first for whom there is no room. */
  room(): Room {
    const room = new Room();
    const mode = this.mode ?? (this.#fitting > 0 ? this.first!.mode : null);
    if (mode !== null) room.takeHeld(mode, this.used + this.#fitting);
    return room;
  }

  /** True when nobody who has it, or stands before a place in the queue, is in the way of that one. */
  hasRoomAt(place: Place): boolean {
    return this.#queue!.isFitting(place) || this.#roomBefore(place).fits(place.mode);
  }

  /** True when nobody who has it or waits for it is in the way of somebody new. */
  hasRoomFor(mode: Mode): boolean {
    return this.#roomBefore(null).fits(mode);
  }

  #roomBefore(place: Place | null): Room {
    const room = this.room();
    for (let at = this.blocked; at !== place && at !== null && !room.isFull; at = at.next) room.take(at.mode);
    return room;
  }

  // --- the queue ---

  /** The first of all who could be granted now. */
  get first(): Place | null {
    return this.#queue === null ? null : this.#queue.first;
  }

  /** All who wait, also those whose sessions are away. */
  get waiterCount(): number {
    return this.#queue === null ? 0 : this.#queue.waiterCount;
  }

  /** Those in the queue who want other locks too. */
  get setCount(): number {
    return this.#queue === null ? 0 : this.#queue.setCount;
  }

  /** The first for whom there was no room when the lock was last served. */
  get blocked(): Place | null {
    return this.#queue === null ? null : this.#queue.blocked;
  }

  get #fitting(): number {
    return this.#queue === null ? 0 : this.#queue.fitting;
  }

  /** There is room for him now. */
  unblock(place: Place): void {
    this.#queue!.unblock(place);
  }

  /** Looks at the whole queue when it is served the next time. */
  rewind(): void {
    this.#queue?.rewind();
  }

  /** Adds a place with the highest ticket of all, at the end, or to those who are away. */
  add(place: Place, isAway: boolean): void {
    this.#queue ??= new Queue();
    const queue = this.#queue;
    queue.waiterCount++;
    if (isAway) queue.park(place);
    else queue.append(place, queue.blocked === null && this.room().fits(place.mode));
  }

  remove(place: Place): void {
    this.#queue!.remove(place);
    if (this.#queue!.waiterCount === 0) this.#queue = null;
  }

  /** Its session cannot be reached any more. */
  leave(place: Place): void {
    this.#queue!.leave(place);
  }

  /** Places of one session, in ticket order, are back. */
  comeBack(places: readonly Place[]): void {
    this.#queue!.comeBack(places);
  }

  /** The first who wait, in ticket order, also those who are away. */
  firstWaiters(max: number): readonly Place[] {
    return this.#queue === null ? [] : this.#queue.firstWaiters(max);
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
