import type { Act, OutsideChange, OutsideRecord } from "../../src/loop/index.js";
import { Deliverer } from "../../src/webhooks/deliverer.js";
import type { DeliveryRecord } from "../../src/webhooks/delivery.js";
import { Delivery } from "../../src/webhooks/delivery.js";
import type { Outcome } from "../../src/webhooks/post.js";

export const OK: Outcome = { status: 200, error: null, retryAfterMs: 0, isGone: false };
export const DOWN: Outcome = { status: null, error: "ECONNREFUSED", retryAfterMs: 0, isGone: false };

/** Time that passes when a test says so, and timers on it. */
export class VirtualTime {
  nowMs = 1_000;
  readonly #timers = new Set<{ readonly atMs: number; readonly run: () => void }>();

  setTimer = (run: () => void, ms: number) => {
    const timer = { atMs: this.nowMs + ms, run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  };

  get timerCount(): number {
    return this.#timers.size;
  }

  /** Lets time pass, timer by timer, and all that comes of each. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      await settled();
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs);
      if (next === undefined || next.atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.#timers.delete(next);
      next.run();
    }
    this.nowMs = endMs;
    await settled();
  }
}

/** All promises that can go on have gone on. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

interface Attempt {
  readonly delivery: Delivery;
  readonly atMs: number;
  readonly signal: AbortSignal;
  settle(outcome: Outcome): void;
}

/** A deliverer in virtual time. What its target answers is for the test to say. */
export class Stage {
  readonly time = new VirtualTime();
  readonly attempts: Attempt[] = [];
  readonly written: DeliveryRecord[] = [];
  readonly noted: string[] = [];
  /** What each attempt comes to at once; null: the test says it later. */
  answer: (delivery: Delivery) => Outcome | null = () => OK;
  chance = 1;
  readonly deliverer: Deliverer;
  #count = 0;

  constructor() {
    this.deliverer = new Deliverer({
      monotonicMs: () => this.time.nowMs,
      wallMs: () => this.time.nowMs,
      random: () => this.chance,
      setTimer: this.time.setTimer,
      send: (delivery, signal) =>
        new Promise((settle) => {
          this.attempts.push({ delivery, atMs: this.time.nowMs, signal, settle });
          const outcome = this.answer(delivery);
          if (outcome !== null) settle(outcome);
        }),
      changed: ({ record }) => void this.written.push(record),
      noted: (what, origin) => void this.noted.push(`${what} ${origin}`),
    });
  }

  owe(url = "https://a.example/hook", more: Partial<DeliveryRecord> = {}): Delivery {
    const delivery = this.delivery(url, more);
    this.deliverer.schedule(delivery, 0);
    return delivery;
  }

  delivery(url: string, more: Partial<DeliveryRecord> = {}): Delivery {
    return new Delivery(
      `default/delivery/s/${++this.#count}.0`,
      recordOf(this.#count, { url, ...more }),
      this.time.nowMs,
    );
  }

  /** When attempts of a delivery were made, since it was owed. */
  timesOf(delivery: Delivery, sinceMs = 1_000): readonly number[] {
    return this.attempts.filter((each) => each.delivery === delivery).map(({ atMs }) => atMs - sinceMs);
  }
}

export function recordOf(number: number, more: Partial<DeliveryRecord> = {}): DeliveryRecord {
  return {
    id: `msg_${number}`,
    service: "s",
    url: "https://a.example/hook",
    lockName: `lock ${number}`,
    token: number,
    endedBy: "release",
    createdAt: new Date(number).toISOString(),
    ...more,
  };
}

/** Keeps records as a loop does, at once. */
export class Records {
  readonly all = new Map<string, object>();
  /** False: nothing can be kept. */
  works = true;

  readonly acts: Act[] = [];

  keep = async (changes: readonly OutsideChange[], ...acts: readonly Act[]): Promise<void> => {
    this.acts.push(...acts);
    if (!this.works) throw new Error("the store does not work");
    for (const { key, value } of changes) {
      if (value === null) this.all.delete(key);
      else this.all.set(key, JSON.parse(JSON.stringify(value)));
    }
  };

  get records(): readonly OutsideRecord[] {
    return [...this.all].map(([key, value]) => ({ key, value }));
  }
}
