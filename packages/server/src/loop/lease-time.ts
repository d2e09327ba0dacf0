import { LeaseClock } from "./lease-clock.js";
import type { LoopRuntime } from "./runtime.js";

/** While anything runs on the lease clock it is read at least this often, so that only a stall meets the 250 ms step. */
const SAMPLE_MS = 100;

/** The lease clock as a loop reads it, and the timer for what is due on it. */
export class LeaseTime {
  readonly #runtime: LoopRuntime;
  readonly #ring: () => void;
  #clock: LeaseClock;
  #cancelTimer: (() => void) | null = null;
  #timerDueMs = Number.POSITIVE_INFINITY;
  /** Something runs on it since the last turn. */
  #isSampled = false;

  /** @param ring something may be due */
  constructor(runtime: LoopRuntime, ring: () => void) {
    this.#runtime = runtime;
    this.#ring = ring;
    this.#clock = new LeaseClock(0, runtime.monotonicMs());
  }

  /** As it was last read, in whole milliseconds. */
  get lastMs(): number {
    return this.#clock.lastMs;
  }

  /** It goes on from where it was when it was written down. */
  goOn(fromMs: number): void {
    this.#clock = new LeaseClock(fromMs, this.#runtime.monotonicMs());
    this.#isSampled = false;
  }

  read(): number {
    return this.#clock.read(this.#runtime.monotonicMs(), this.#isSampled);
  }

  /** Rings when this is due, and at least as often as the clock must be read until then. */
  arm(nowMs: number, nextMs: number): void {
    this.#isSampled = nextMs !== Number.POSITIVE_INFINITY;
    if (!this.#isSampled) return;
    const dueMs = Math.min(nextMs, nowMs + SAMPLE_MS);
    if (this.#cancelTimer !== null && this.#timerDueMs <= dueMs) return;
    this.#cancelTimer?.();
    this.#timerDueMs = dueMs;
    const ring = () => {
      this.#cancelTimer = null;
      this.#ring();
    };
    this.#cancelTimer = this.#runtime.setTimer(ring, Math.max(1, dueMs - nowMs));
  }

  disarm(): void {
    this.#cancelTimer?.();
  }
}
