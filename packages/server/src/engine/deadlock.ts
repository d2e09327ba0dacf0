import type { DeadlockStep } from "lockdb/protocol";
import type { Grip, Lock } from "./lock.js";
import { type Mode, Room } from "./modes.js";
import type { Place } from "./queue.js";
import type { Hold, Waiter } from "./state.js";

/** A longer way round is cut off, so that the message fits on a screen. */
const STEPS_SHOWN_MAX = 16;
const NAMES_SHOWN_MAX = 3;
const NAME_LENGTH_MAX = 64;
/** Who stands behind whom behind whom: one more is said to be in the way, without why. */
const BEHIND_MAX = 3;

/** Who is in the way of a request: one who holds a lock, or `hold: null`, one who stands in its queue. */
interface Blocker {
  readonly lock: Lock;
  readonly hold: Hold | null;
  readonly text: string;
}

/** One step of a cycle: a request, the hold that waits for it, and what that request waits for. */
interface Step {
  readonly waiter: Waiter;
  holding: Hold;
  readonly blocker: Blocker;
}

/**
 * Which requests that are made inside holds could never be granted, while every hold without a request inside it may end
 * (D2). Exact for requests that say which holds they are made inside of: a hold ends once all that is asked inside it was
 * granted; a request is granted once enough of those who are in its way have ended, whether they hold a lock or stand
 * before it in a queue. What never comes free by that is stuck.
 *
 * Assumes the worst of all, then finds one after the other who is not stuck, until nobody is left to find.
 */
export class Deadlocks {
  /** How much there was to look at. */
  steps = 0;
  readonly #exempt: Waiter | null;
  readonly #locks: ReadonlySet<Lock>;
  /** Where something may have changed since they were looked at. */
  readonly #todo: Set<Lock>;
  /** Requests that are made inside holds, by the locks that they wait for. */
  readonly #inside = new Map<Lock, Set<Waiter>>();
  /** How many requests inside a hold are stuck, as far as is known. */
  readonly #stuckCounts = new Map<Hold, number>();
  /** Places at which there will be room some day. */
  readonly #fitting = new Set<Place>();
  /** Waiters who will be granted some day. */
  readonly #granted = new Set<Waiter>();
  /** Locks without sets in their queues that will come free: so all who wait for them are granted, however many. */
  readonly #open = new Set<Lock>();

  /**
   * @param waiters in their queues
   * @param exempt one whose own waiting keeps nobody waiting, to see whether it is what the others wait for
   */
  constructor(waiters: Iterable<Waiter>, exempt: Waiter | null = null) {
    this.#exempt = exempt;
    this.#locks = this.#locksAround(waiters);
    this.#todo = new Set(this.#locks);
    // What is added while it is walked is looked at, too.
    for (const lock of this.#todo) {
      this.#todo.delete(lock);
      if (this.#isNewsAt(lock)) this.#letGo(lock);
    }
  }

  isStuck(waiter: Waiter): boolean {
    if (!waiter.isQueued || this.#granted.has(waiter)) return false;
    return waiter.nextOfWaiter !== null || !this.#open.has(waiter.lock);
  }

  /** All around the given ones that are made inside a hold and stuck, the youngest first. */
  stuckInside(): readonly Waiter[] {
    const stuck = new Set<Waiter>();
    for (const lock of this.#locks) {
      for (let place = this.#open.has(lock) ? null : lock.first; place !== null; place = place.next) {
        if (place.waiter.outer.length > 0 && this.isStuck(place.waiter)) stuck.add(place.waiter);
      }
    }
    return [...stuck].sort((a, b) => b.ticket - a.ticket);
  }

  /** Who waits for whom, a line a step, from a hold that a stuck request is made inside of round to it. There is one. */
  cycleOf(stuck: Waiter): readonly string[] {
    const steps = this.#stepsFrom(stuck);
    const last = steps.at(-1)!.blocker.hold;
    // It may have come round to an inner one: there it begins, too.
    if (last !== null && stuck.outer.includes(last)) steps[0]!.holding = last;
    return steps.length > STEPS_SHOWN_MAX
      ? [...steps.slice(0, STEPS_SHOWN_MAX).map(stepText), "and so on"]
      : steps.map(stepText);
  }

  /** The same, for a picture. */
  roundOf(stuck: Waiter): readonly DeadlockStep[] {
    return this.#stepsFrom(stuck)
      .slice(0, STEPS_SHOWN_MAX)
      .map(({ holding, blocker }) => ({
        owner: holding.owner,
        token: holding.token,
        holds: holding.grips.slice(0, NAMES_SHOWN_MAX).map(({ lock }) => lock.name),
        wants: blocker.lock.name,
        of: blocker.hold?.owner ?? "",
      }));
  }

  #stepsFrom(stuck: Waiter): readonly Step[] {
    const steps: Step[] = [];
    const seen = new Set<Hold>();
    let [waiter, holding] = [stuck, stuck.outer[0]!];
    while (steps.length <= STEPS_SHOWN_MAX) {
      // Whoever is stuck has somebody in his way, and a stuck hold a stuck request inside it.
      const blocker = this.#blockerOf(waiter)!;
      steps.push({ waiter, holding, blocker });
      const { hold } = blocker;
      if (hold === null || seen.has(hold) || stuck.outer.includes(hold)) break;
      seen.add(hold);
      waiter = [...hold.nested!].find((other) => this.isStuck(other))!;
      holding = hold;
    }
    return steps;
  }

  /** Somebody more will be granted a lock. */
  #isNewsAt(lock: Lock): boolean {
    if (this.#open.has(lock)) return false;
    const room = this.#roomOf(lock);
    if (room.isEmpty && lock.setCount === 0) {
      this.#open.add(lock);
      return true;
    }
    let isNews = false;
    for (let place = lock.first; place !== null && !room.isFull; place = place.next) {
      const { waiter, mode } = place;
      this.steps++;
      if (this.#granted.has(waiter)) continue;
      if (room.fits(mode)) this.#fitting.add(place);
      if (waiter.places.every((each) => this.#fitting.has(each))) {
        this.#granted.add(waiter);
        isNews = true;
        for (const other of waiter.places) if (other !== place) this.#lookAgain(other.lock);
      } else room.take(mode);
    }
    return isNews;
  }

  /** What is left of a lock by those who hold it and are stuck. */
  #roomOf(lock: Lock): Room {
    const room = new Room();
    for (let grip = lock.firstGrip; grip !== null; grip = grip.nextOfLock) {
      this.steps++;
      if (this.#isStuckHold(grip.hold)) room.take(grip.mode);
    }
    return room;
  }

  /** Some of the requests for a lock are not stuck: the holds that they are made inside of may end. */
  #letGo(lock: Lock): void {
    const inside = this.#inside.get(lock) ?? new Set();
    for (const waiter of inside) {
      this.steps++;
      if (this.isStuck(waiter)) continue;
      for (const place of waiter.places) this.#inside.get(place.lock)!.delete(waiter);
      for (const hold of waiter.outer) this.#unstick(hold);
    }
  }

  #unstick(hold: Hold): void {
    const count = (this.#stuckCounts.get(hold) ?? 0) - 1;
    this.#stuckCounts.set(hold, count);
    if (count > 0) return;
    for (let grip: Grip | null = hold; grip !== null; grip = grip.nextOfHold) this.#lookAgain(grip.lock);
  }

  #lookAgain(lock: Lock): void {
    if (this.#locks.has(lock)) this.#todo.add(lock);
  }

  /** All locks that have to do with whether requests can be granted. */
  #locksAround(waiters: Iterable<Waiter>): ReadonlySet<Lock> {
    const locks = new Set<Lock>();
    for (const waiter of waiters) {
      for (const { lock } of waiter.places) locks.add(lock);
    }
    // A set grows while it is walked.
    for (const lock of locks) {
      for (let grip = lock.firstGrip; grip !== null; grip = grip.nextOfLock) this.#addHold(grip.hold, locks);
      for (let place = lock.setCount > 0 ? lock.first : null; place !== null; place = place.next) {
        this.steps++;
        for (const other of place.waiter.places) locks.add(other.lock);
      }
    }
    return locks;
  }

  #addHold(hold: Hold, locks: Set<Lock>): void {
    this.steps++;
    if (hold.nested === null || this.#stuckCounts.has(hold)) return;
    let count = 0;
    for (const waiter of hold.nested) {
      if (!waiter.isQueued || waiter === this.#exempt) continue;
      count++;
      for (const { lock } of waiter.places) {
        locks.add(lock);
        const inside = this.#inside.get(lock) ?? new Set();
        this.#inside.set(lock, inside.add(waiter));
      }
    }
    this.#stuckCounts.set(hold, count);
  }

  /** Something is asked inside it that is not granted, as far as is known. Whoever is away may come back and let go. */
  #isStuckHold(hold: Hold): boolean {
    // What remains of a hold ends at its time.
    return !hold.remainder && (this.#stuckCounts.get(hold) ?? 0) > 0;
  }

  /** The first who is in the way and stuck: one who holds a lock, or stands before a waiter in its queue. */
  #blockerOf(waiter: Waiter, depth = 0): Blocker | null {
    for (const { lock, mode } of waiter.places) {
      for (let grip = lock.firstGrip; grip !== null; grip = grip.nextOfLock) {
        if (!this.#isStuckHold(grip.hold) || !areInTheWay(grip.mode, mode)) continue;
        return { lock, hold: grip.hold, text: `which ${grip.hold.owner} holds (token ${grip.hold.token})` };
      }
      for (let place = lock.first; place !== null && place.waiter !== waiter; place = place.next) {
        const blocker = this.#behind(place, mode, depth + 1);
        if (blocker !== null) return { lock, ...blocker };
      }
    }
    return null;
  }

  /** Queue order counts as waiting: whoever stands before us is waited for, and so is what he waits for. */
  #behind(
    place: Place,
    mode: Mode,
    depth: number,
  ): { readonly hold: Hold | null; readonly text: string } | null {
    const { waiter } = place;
    if (!this.isStuck(waiter) || !areInTheWay(place.mode, mode)) return null;
    const text = `behind ${waiter.owner} (ticket ${waiter.ticket})`;
    const blocker = depth > BEHIND_MAX ? null : this.#blockerOf(waiter, depth);
    if (blocker === null) return { hold: null, text };
    return {
      hold: blocker.hold,
      text: `${text}, who waits for ${nameText(blocker.lock)}, ${blocker.text}`,
    };
  }
}

function stepText({ waiter, holding, blocker }: Step): string {
  const what = `${nameText(blocker.lock)}, ${blocker.text}`;
  // A holder that has called another service waits for what that one asks.
  const through = holding.owner === waiter.owner ? "" : ` through ${waiter.owner}`;
  return `${holding.owner} (token ${holding.token}, holding ${namesText(holding)}) waits${through} for ${what}`;
}

function areInTheWay(mode: Mode, other: Mode): boolean {
  return mode.permits > 0 || !(mode.shared && other.shared);
}

function nameText({ name }: Lock): string {
  return JSON.stringify(name.length > NAME_LENGTH_MAX ? `${name.slice(0, NAME_LENGTH_MAX)}…` : name);
}

function namesText({ grips }: Hold): string {
  const names = grips.slice(0, NAMES_SHOWN_MAX).map(({ lock }) => nameText(lock));
  const more = grips.length - names.length;
  return more > 0 ? `${names.join(", ")} and ${more} more` : names.join(", ");
}
