import { setMaxListeners } from "node:events";
import { Deadlines, type Timed } from "../engine/index.js";
import { retryDelayMs, TRIED_MS } from "./backoff.js";
import { Breaker } from "./breaker.js";
import type { Delivery } from "./delivery.js";
import type { Outcome } from "./post.js";

/** Attempts at once, in all and to one origin. */
const ATTEMPTS_MAX = 64;
const ATTEMPTS_MAX_ORIGIN = 4;

/** What a deliverer needs. */
export interface DelivererHost {
  monotonicMs(): number;
  wallMs(): number;
  /** From 0 to 1. */
  random(): number;
  setTimer(callback: () => void, ms: number): () => void;
  send(delivery: Delivery, signal: AbortSignal): Promise<Outcome>;
  /** Its record is another: after an attempt, or since its time is over. */
  changed(delivery: Delivery): void;
  noted(what: "opened" | "closed", origin: string): void;
}

/** Where deliveries go: scheme, host and port. */
interface Origin extends Timed {
  readonly name: string;
  readonly breaker: Breaker;
  /** Those whose time has come, in that order. */
  readonly ready: Set<Delivery>;
  /** Those that wait for their next attempt. */
  readonly waiting: Set<Delivery>;
  activeCount: number;
}

/** Sends what is owed, when it is due: a bounded number at once, in turn from one origin to the next. */
export class Deliverer {
  readonly #host: DelivererHost;
  readonly #origins = new Map<string, Origin>();
  readonly #timed = new Deadlines<Delivery>();
  /** Origins whose breaker is open, by when a probe may go. */
  readonly #parked = new Deadlines<Origin>();
  /** Origins that may have something to send, in turn. */
  readonly #turns = new Set<Origin>();
  readonly #controller = new AbortController();
  #activeCount = 0;
  #isStopped = false;
  #onIdle: (() => void) | null = null;
  #timer: { readonly dueMs: number; readonly cancel: () => void } | null = null;

  constructor(host: DelivererHost) {
    this.#host = host;
    // Each attempt listens: that is no leak.
    setMaxListeners(0, this.#controller.signal);
  }

  /** It is due after this time. One that is known already is due then instead. */
  schedule(delivery: Delivery, delayMs: number): void {
    if (this.#isStopped || delivery.isInFlight) return;
    const origin = this.#originOf(delivery);
    origin.ready.delete(delivery);
    origin.waiting.add(delivery);
    this.#timed.set(delivery, this.#host.monotonicMs() + delayMs);
    this.#pump();
  }

  /** Somebody wants it tried now, whatever its target has done before. */
  now(delivery: Delivery): void {
    if (this.#isStopped || delivery.isInFlight) return;
    const origin = this.#originOf(delivery);
    const others = [...origin.ready];
    origin.waiting.delete(delivery);
    this.#timed.delete(delivery);
    delivery.dueMs = this.#host.monotonicMs();
    // Before all others: if its target is down, only the first one goes.
    origin.ready.clear();
    for (const each of [delivery, ...others]) origin.ready.add(each);
    origin.breaker.probeNow();
    this.#turns.add(origin);
    this.#pump();
  }

  /** It is not to be sent any more. */
  forget(delivery: Delivery): void {
    const origin = this.#origins.get(delivery.origin);
    if (origin === undefined) return;
    this.#timed.delete(delivery);
    origin.waiting.delete(delivery);
    origin.ready.delete(delivery);
    this.#forgetIdle(origin);
    this.#arm(this.#host.monotonicMs());
  }

  /** When the next attempt may be, by the monotonic clock. */
  nextAttemptMs(delivery: Delivery): number {
    const breaker = this.#origins.get(delivery.origin)?.breaker;
    return Math.max(delivery.dueMs, breaker?.isOpen === true ? breaker.probeAtMs : 0);
  }

  /** True while its target is left alone. */
  isParked({ origin }: Delivery): boolean {
    return this.#origins.get(origin)?.breaker.isOpen === true;
  }

  /** Targets that are left alone. */
  get parkedCount(): number {
    return [...this.#origins.values()].filter(({ breaker }) => breaker.isOpen).length;
  }

  /** Begins nothing more. Resolves when what is on its way has come to something, or after this time, and then ends it. */
  async stop(graceMs: number): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    if (this.#activeCount > 0 && graceMs > 0) {
      await new Promise<void>((resolve) => {
        const cancel = this.#host.setTimer(resolve, graceMs);
        this.#onIdle = () => {
          cancel();
          resolve();
        };
      });
    }
    this.#controller.abort(new Error("the server stops"));
  }

  #originOf({ origin: name }: Delivery): Origin {
    let origin = this.#origins.get(name);
    if (origin === undefined) {
      origin = {
        name,
        breaker: new Breaker(),
        ready: new Set(),
        waiting: new Set(),
        activeCount: 0,
        dueMs: 0,
        heapIndex: -1,
      };
      this.#origins.set(name, origin);
    }
    return origin;
  }

  #pump(): void {
    if (this.#isStopped) return;
    const nowMs = this.#host.monotonicMs();
    for (let due = this.#timed.takeDue(nowMs); due !== undefined; due = this.#timed.takeDue(nowMs)) {
      const origin = this.#originOf(due);
      origin.waiting.delete(due);
      origin.ready.add(due);
      this.#turns.add(origin);
    }
    for (let due = this.#parked.takeDue(nowMs); due !== undefined; due = this.#parked.takeDue(nowMs)) {
      this.#giveUpOld(due, nowMs);
      this.#turns.add(due);
    }
    while (this.#activeCount < ATTEMPTS_MAX) {
      const [origin] = this.#turns;
      if (origin === undefined) break;
      this.#turns.delete(origin);
      // To the end of the line, when there may be more.
      if (this.#begin(origin, nowMs)) this.#turns.add(origin);
    }
    this.#arm(nowMs);
  }

  /** Begins one attempt, if this origin has one to begin. */
  #begin(origin: Origin, nowMs: number): boolean {
    const [delivery] = origin.ready;
    if (delivery === undefined || origin.activeCount >= ATTEMPTS_MAX_ORIGIN) return false;
    if (!origin.breaker.mayTry(nowMs)) {
      if (origin.breaker.probeAtMs > nowMs) this.#parked.set(origin, origin.breaker.probeAtMs);
      return false;
    }
    this.#parked.delete(origin);
    origin.ready.delete(delivery);
    origin.breaker.began();
    origin.activeCount++;
    this.#activeCount++;
    delivery.isInFlight = true;
    void this.#host.send(delivery, this.#controller.signal).then((outcome) => {
      origin.activeCount--;
      this.#activeCount--;
      delivery.isInFlight = false;
      // One that was cut off by us says nothing, and is made again.
      if (!this.#controller.signal.aborted) this.#settle(origin, delivery, outcome);
      if (this.#activeCount === 0) this.#onIdle?.();
    });
    return true;
  }

  #settle(origin: Origin, delivery: Delivery, outcome: Outcome): void {
    const { random, monotonicMs, wallMs } = this.#host;
    const nowMs = monotonicMs();
    const attempts = (delivery.record.attempts ?? 0) + 1;
    const isOver = outcome.error === null || outcome.isGone;
    const delayMs = isOver
      ? null
      : retryDelayMs(attempts, delivery.ageMs(nowMs), outcome.retryAfterMs, random());
    // What is elsewhere by now is no matter of ours; of its target we have learned all the same.
    if (!delivery.isElsewhere) {
      delivery.attempted(outcome, delayMs, nowMs, new Date(wallMs()).toISOString());
      if (delayMs !== null) {
        origin.waiting.add(delivery);
        this.#timed.set(delivery, nowMs + delayMs);
      }
      this.#host.changed(delivery);
    }
    if (isOver) {
      if (origin.breaker.succeeded()) this.#back(origin, nowMs);
    } else if (origin.breaker.failed(nowMs, random())) this.#host.noted("opened", origin.name);
    this.#turns.add(origin);
    this.#forgetIdle(origin);
    this.#pump();
  }

  /** A target that was down answers again: what waits for it need not wait any longer. */
  #back(origin: Origin, nowMs: number): void {
    this.#host.noted("closed", origin.name);
    for (const delivery of origin.waiting) this.#timed.set(delivery, nowMs);
  }

  /** Nothing is sent to an open breaker's target but probes, so the day of those behind it may end without an attempt. */
  #giveUpOld(origin: Origin, nowMs: number): void {
    for (const delivery of origin.ready) {
      if (delivery.ageMs(nowMs) < TRIED_MS) continue;
      origin.ready.delete(delivery);
      delivery.giveUp("its target did not answer for a day", nowMs);
      this.#host.changed(delivery);
    }
    this.#forgetIdle(origin);
  }

  #forgetIdle(origin: Origin): void {
    if (origin.ready.size + origin.waiting.size + origin.activeCount > 0) return;
    this.#origins.delete(origin.name);
    this.#turns.delete(origin);
    this.#parked.delete(origin);
  }

  #arm(nowMs: number): void {
    const dueMs = Math.min(this.#timed.nextMs, this.#parked.nextMs);
    if (this.#timer?.dueMs === dueMs) return;
    this.#timer?.cancel();
    this.#timer = null;
    if (dueMs === Number.POSITIVE_INFINITY) return;
    const ring = () => {
      this.#timer = null;
      this.#pump();
    };
    this.#timer = { dueMs, cancel: this.#host.setTimer(ring, Math.max(1, Math.ceil(dueMs - nowMs))) };
  }
}
