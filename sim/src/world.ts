import { Heap } from "./heap.js";
import type { Process } from "./process.js";
import { Random } from "./random.js";
import { type About, Story } from "./story.js";

/** Something that will happen, unless it is called off. */
export interface Scheduled {
  cancelled: boolean;
}

export interface Violation {
  /** Number of the rule in SPEC.md. */
  readonly rule: string;
  readonly text: string;
  readonly about: About;
  readonly atMs: number;
}

interface Entry extends Scheduled {
  readonly dueMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** Virtual time, chance, and one heap of all that is going to happen. */
export class World {
  readonly random: Random;
  readonly story: Story;
  readonly violations: Violation[] = [];
  nowMs = 0;
  steps = 0;
  /** The process whose callback runs at this moment. */
  current: Process | null = null;
  /** True while a checker reads clocks: that takes no time. */
  observing = false;
  /** True once nothing goes wrong any more. */
  calm = false;
  readonly #heap = new Heap<Entry>();
  #order = 0;

  constructor(seed: number, tells: boolean) {
    this.random = new Random(seed);
    this.story = new Story(tells, () => this.nowMs);
  }

  at(dueMs: number, run: () => void): Scheduled {
    const entry = { dueMs: Math.max(dueMs, this.nowMs), order: this.#order++, run, cancelled: false };
    this.#heap.push(entry);
    return entry;
  }

  after(ms: number, run: () => void): Scheduled {
    return this.at(this.nowMs + ms, run);
  }

  violate(rule: string, text: string, about: About = null): void {
    this.story.note(about, "CHECK", () => `[${rule}] ${text}`);
    this.violations.push({ rule, text, about, atMs: this.nowMs });
  }

  /** Lets things happen until a time, a number of steps, a violation, or the end of everything. */
  async run(untilMs: number, stepsMax: number, afterStep: () => void): Promise<void> {
    const stepsEnd = this.steps + stepsMax;
    while (this.violations.length === 0 && this.steps < stepsEnd) {
      const entry = this.#heap.first;
      if (entry === undefined || entry.dueMs > untilMs) break;
      this.#heap.pop();
      if (entry.cancelled) continue;
      this.nowMs = entry.dueMs;
      this.steps++;
      entry.run();
      if (this.current !== null) {
        // All promises that this callback has moved settle before anything else happens.
        await new Promise(setImmediate);
        const process: Process = this.current;
        this.current = null;
        process.afterCallback();
      }
      afterStep();
    }
    if (this.violations.length === 0 && this.steps < stepsEnd) this.nowMs = Math.max(this.nowMs, untilMs);
  }
}
