import type { Clock } from "./clock.js";
import { Heap } from "./heap.js";
import type { Scheduled, World } from "./world.js";

type Callback = () => void;

interface Timer extends Scheduled {
  /** On the monotonic clock. */
  readonly dueMs: number;
  readonly order: number;
  readonly run: Callback;
}

type Phase = "timers" | "poll" | "check";

/** A turn of the event loop: whether timers or sockets come first after a stall is not for us to say. */
const TURNS: readonly (readonly Phase[])[] = [
  ["timers", "poll", "check"],
  ["poll", "timers", "check"],
];

/** How long a callback takes at most, and how often the process stands still in the middle of one. */
export interface Pace {
  readonly callbackMsMax: number;
  readonly stallChance: number;
  readonly stallMsMax: number;
}

/** A process with one event loop: timers, arrived I/O, deferred callbacks. It can be stopped, suspended and killed. */
export class Process {
  readonly name: string;
  readonly world: World;
  readonly clock: Clock;
  readonly #pace: Pace;
  readonly #timers = new Heap<Timer>();
  #inbox: Callback[] = [];
  #deferred: Callback[] = [];
  #checking: Callback[] = [];
  #phases: Phase[] = [];
  #timersUntilMs = 0;
  #order = 0;
  #step: Scheduled | null = null;
  #alarm: Scheduled | null = null;
  #alarmMs = 0;
  #resume: Scheduled | null = null;
  #resumeMs = 0;
  /** Until then it is in the middle of a callback that has already run here: nothing may wake it before. */
  #busyUntilMs = 0;
  #state: "running" | "paused" | "dead" = "running";
  /** The process stood still in the middle of its callback for so long: what it does next, it does later. */
  #aheadMs = 0;
  diedMs = Number.POSITIVE_INFINITY;
  /** How often it has stood still. */
  pauses = 0;
  #stoodMs = 0;
  #stoodSinceMs = 0;

  constructor(world: World, name: string, clock: Clock, pace: Pace) {
    this.world = world;
    this.name = name;
    this.clock = clock;
    this.#pace = pace;
  }

  get alive(): boolean {
    return this.#state !== "dead";
  }

  get paused(): boolean {
    return this.#state === "paused";
  }

  /** The moment at which this process is now: later than the world's while its callback stands still. */
  get localMs(): number {
    return this.world.nowMs + this.#aheadMs;
  }

  /** How long it has run, without the times in which it stood still, by true time. */
  get runningMs(): number {
    return this.world.nowMs - this.#stoodMs;
  }

  monotonicMs(): number {
    this.#mayStall();
    return this.clock.monotonicMs(this.localMs);
  }

  wallMs(): number {
    this.#mayStall();
    return this.clock.wallMs(this.localMs);
  }

  defer(run: Callback): void {
    if (!this.alive) return;
    this.#deferred.push(run);
    this.#wake();
  }

  /** I/O that has come to this machine. The process sees it when it looks. */
  arrive(run: Callback): void {
    if (!this.alive) return;
    this.#inbox.push(run);
    this.#wake();
  }

  setTimer(run: Callback, ms: number): () => void {
    const dueMs = this.clock.monotonicMs(this.localMs) + Math.max(1, ms);
    const timer: Timer = { dueMs, order: this.#order++, run, cancelled: false };
    this.#timers.push(timer);
    this.#arm();
    return () => {
      timer.cancelled = true;
    };
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.setTimer(resolve, ms));
  }

  /** Stops the event loop for a while; a suspended machine's monotonic clock stops too. */
  pause(ms: number, suspended = false): void {
    if (!this.alive) return;
    if (this.#state === "running") {
      this.pauses++;
      this.#stoodSinceMs = this.world.nowMs;
    }
    this.#state = "paused";
    if (suspended && this.world.nowMs >= this.#busyUntilMs) this.clock.suspend(this.world.nowMs);
    const resumeMs = this.world.nowMs + ms;
    if (this.#resume !== null && this.#resumeMs >= resumeMs) return;
    if (this.#resume !== null) this.#resume.cancelled = true;
    this.#resumeMs = resumeMs;
    this.#resume = this.world.at(resumeMs, () => this.resume());
  }

  resume(): void {
    if (this.#state !== "paused") return;
    if (this.#resume !== null) this.#resume.cancelled = true;
    this.#resume = null;
    if (this.world.nowMs < this.#busyUntilMs) return this.pause(this.#busyUntilMs - this.world.nowMs);
    this.#stoodMs += this.world.nowMs - this.#stoodSinceMs;
    this.#state = "running";
    this.clock.resume(this.world.nowMs);
    this.#arm();
    this.#wake();
  }

  kill(): void {
    this.#state = "dead";
    this.diedMs = this.world.nowMs;
    this.#inbox = [];
    this.#deferred = [];
    this.#checking = [];
  }

  /** Called when a callback and all promises that it moved are through. */
  afterCallback(): void {
    const aheadMs = this.#aheadMs;
    this.#aheadMs = 0;
    if (aheadMs > 0) {
      this.#busyUntilMs = this.world.nowMs + aheadMs;
      this.pause(aheadMs);
    } else this.#wake();
  }

  #mayStall(): void {
    const { random, observing, calm, current } = this.world;
    if (observing || calm || current !== this || !random.chance(this.#pace.stallChance)) return;
    this.#aheadMs += random.span(0.1, this.#pace.stallMsMax);
  }

  #wake(): void {
    if (this.#step !== null || this.#state !== "running" || !this.#hasWork()) return;
    this.#step = this.world.after(this.world.random.next() * this.#pace.callbackMsMax, () => {
      this.#step = null;
      if (this.#state === "running") this.#run();
    });
  }

  #hasWork(): boolean {
    return (
      this.#inbox.length + this.#deferred.length + this.#checking.length > 0 || this.#isDue(this.#nowMs())
    );
  }

  #run(): void {
    const callback = this.#next();
    if (callback === null) return;
    this.world.current = this;
    try {
      callback();
    } catch (error) {
      this.world.violate("Q10", `${this.name} threw: ${(error as Error).stack}`);
    }
  }

  #next(): Callback | null {
    for (let emptyTurns = 0; emptyTurns < 2; ) {
      if (this.#phases.length === 0) {
        emptyTurns++;
        this.#phases = [...this.world.random.pick(TURNS)];
        this.#timersUntilMs = this.#nowMs();
      }
      const phase = this.#phases[0]!;
      const callback = this.#nextOf(phase);
      if (callback !== undefined) return callback;
      this.#phases.shift();
      if (this.#phases[0] === "check") {
        this.#checking = this.#deferred;
        this.#deferred = [];
      }
    }
    return null;
  }

  #nextOf(phase: Phase): Callback | undefined {
    switch (phase) {
      case "timers":
        return this.#takeTimer();
      case "poll":
        return this.#inbox.shift();
      case "check":
        return this.#checking.shift();
    }
  }

  #takeTimer(): Callback | undefined {
    if (!this.#isDue(this.#timersUntilMs)) return undefined;
    const { run } = this.#timers.pop()!;
    this.#arm();
    return run;
  }

  #isDue(monotonicMs: number): boolean {
    while (this.#timers.first?.cancelled) this.#timers.pop();
    const first = this.#timers.first;
    // Converting between clocks rounds.
    return first !== undefined && first.dueMs <= monotonicMs + 1e-6;
  }

  #nowMs(): number {
    return this.clock.monotonicMs(this.world.nowMs);
  }

  #arm(): void {
    while (this.#timers.first?.cancelled) this.#timers.pop();
    const first = this.#timers.first;
    if (first === undefined || !this.alive) return;
    if (this.#alarm !== null && this.#alarmMs <= first.dueMs) return;
    if (this.#alarm !== null) this.#alarm.cancelled = true;
    this.#alarmMs = first.dueMs;
    this.#alarm = this.world.after(this.clock.untilMs(this.world.nowMs, first.dueMs), () => {
      this.#alarm = null;
      // A process that stands still looks at its timers when it goes on.
      if (this.#state !== "running") return;
      if (this.#isDue(this.#nowMs())) this.#wake();
      else this.#arm();
    });
  }
}
