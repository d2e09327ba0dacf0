import { fit, type Want } from "./modes.js";
import type { World } from "./world.js";

/** What one client believes of one lock. */
export interface Belief {
  readonly lock: string;
  /** How it is held. */
  readonly want: Want;
  readonly token: number;
  readonly who: string;
  /** Reads the believer's own clocks. */
  readonly isHeld: () => boolean;
  /** True when it can never be held again: it was released, lost, or its session is over. */
  readonly isOver: () => boolean;
  /** The last moment at which it was seen to be believed. */
  lastSeenMs: number;
  /** True when it was freed by force: its holder may not have heard of that yet. */
  readonly isForced: () => boolean;
  /** True when somebody has tried to free it by force, so that what remains of it may be opened, too. */
  readonly wasForced: () => boolean;
  /** True for a detached hold: a crash may undo what freed it. */
  readonly mayReturn: boolean;
  /** It was seen not to be believed any more: it never is again (L5). */
  seenOver?: boolean;
}

const SAMPLE_STEPS = 64;
/** Rates of clocks, and the time that a step takes. */
const DELAY_RATE = 0.98;
const DELAY_SLACK_MS = 20;

/** Everybody's beliefs. At no moment may two of them be of one lock, unless it is shared or has room for both (Q1, Q4). */
export class Beliefs {
  readonly #world: World;
  readonly #judges: boolean;
  readonly #wallsRise: boolean;
  readonly #byLock = new Map<string, Belief[]>();
  readonly #crowded = new Set<string>();
  /** Of the holds that were lost, the one that was believed in last, by lock. */
  readonly #lost = new Map<string, Belief>();
  readonly #lockDelayMs: number;
  #sampledAt = 0;

  /**
   * @param judges false when clocks are so far apart that only tokens protect
   * @param wallsRise false when times of day may be set back: what is read from them may be more later on
   */
  constructor(world: World, judges: boolean, wallsRise: boolean, lockDelayMs: number) {
    this.#world = world;
    this.#lockDelayMs = lockDelayMs;
    this.#wallsRise = wallsRise;
    this.#judges = judges;
  }

  add(belief: Belief): void {
    const beliefs = this.#byLock.get(belief.lock) ?? [];
    beliefs.push(belief);
    this.#byLock.set(belief.lock, beliefs);
    if (beliefs.length > 1) this.#crowded.add(belief.lock);
    this.#checkDelay(belief);
  }

  /** A session's holder has lost it, by its clocks or by news of the server, and neither by force nor by its own wish. */
  lost(belief: Belief): void {
    const before = this.#lost.get(belief.lock);
    if (before === undefined || before.lastSeenMs < belief.lastSeenMs) this.#lost.set(belief.lock, belief);
  }

  /** Nobody holds a lock before its delay is over, counted from when its last holder still believed (L8). */
  #checkDelay({ lock, want, who, token }: Belief): void {
    const lost = this.#lost.get(lock);
    // What remains of a hold keeps out whom the hold would have.
    if (
      lost === undefined ||
      fit([lost.want, want]) ||
      lost.wasForced() ||
      !this.#judges ||
      this.#lockDelayMs === 0
    )
      return;
    const afterMs = this.#world.nowMs - lost.lastSeenMs;
    if (afterMs >= this.#lockDelayMs * DELAY_RATE - DELAY_SLACK_MS) return;
    const text = `${who} has token ${token} of ${lock} ${afterMs.toFixed()} ms after it was lost, and the delay is ${this.#lockDelayMs}`;
    this.#world.violate("L8", text, lock);
  }

  check(): void {
    if (this.#world.steps - this.#sampledAt >= SAMPLE_STEPS) this.#sample();
    for (const lock of this.#crowded) this.#checkLock(lock);
  }

  #checkLock(lock: string): void {
    const beliefs = this.#byLock.get(lock)!.filter((belief) => !belief.isOver());
    this.#byLock.set(lock, beliefs);
    if (beliefs.length < 2) return void this.#crowded.delete(lock);
    const held = this.#held(beliefs).filter((belief) => !belief.isForced());
    if (held.length < 2 || !this.#judges || fit(held.map(({ want }) => want))) return;
    const names = held.map(({ who, token, want }) => `${who} with token ${token} (${want.mode})`);
    this.#world.violate("Q1", `${names.join(" and ")} believe to hold ${lock}`, lock);
  }

  #sample(): void {
    this.#sampledAt = this.#world.steps;
    for (const [lock, beliefs] of this.#byLock) {
      const rest = beliefs.filter((belief) => !belief.isOver());
      if (rest.length !== beliefs.length) this.#byLock.set(lock, rest);
      this.#held(rest);
    }
  }

  #held(beliefs: readonly Belief[]): readonly Belief[] {
    this.#world.observing = true;
    const held = beliefs.filter((belief) => belief.isHeld());
    this.#world.observing = false;
    for (const belief of beliefs) {
      if (!held.includes(belief)) belief.seenOver = true;
      else {
        belief.lastSeenMs = this.#world.nowMs;
        if (belief.seenOver && this.#wallsRise && !belief.mayReturn) this.#revived(belief);
      }
    }
    return held;
  }

  #revived({ who, token, lock }: Belief): void {
    this.#world.violate("L5", `${who} believes in token ${token} of ${lock} again, and did not before`, lock);
  }
}
