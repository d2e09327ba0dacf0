import type { Loop } from "./loop/index.js";

/** How often it is looked who has waited too long. */
const LOOK_MS = 1_000;
/** Lines a minute; the others are only counted. */
const LINES_MAX = 20;
const MINUTE_MS = 60_000;

interface Log {
  warn(facts: object, text: string): void;
}

/** Tells in the log who has waited long for which lock, and who has it. */
export class SlowWaitLog {
  readonly #loop: Loop;
  readonly #slowMs: number;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #minute = 0;
  #linesLeft = LINES_MAX;
  #untold = 0;

  /** @param slowMs from when on a wait is slow, in lease time; 0: never */
  constructor(loop: Loop, slowMs: number, log: Log) {
    this.#loop = loop;
    this.#slowMs = slowMs;
    this.#log = log;
  }

  /** Looks every second until `stop`. Keeps no process alive. */
  start(): void {
    if (this.#slowMs === 0) return;
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Looks once. */
  look(): void {
    const { runtime, services, totals, leaseMs } = this.#loop;
    const minute = Math.floor(runtime.monotonicMs() / MINUTE_MS);
    if (minute !== this.#minute) this.#nextMinute(minute);
    const { count, shown } = services.takeSlowWaits(
      { slowMs: this.#slowMs, shownMax: this.#linesLeft },
      leaseMs,
    );
    totals.slowWaits += count;
    this.#linesLeft -= shown.length;
    this.#untold += count - shown.length;
    for (const { key, wait } of shown)
      this.#log.warn({ account: key.account, service: key.id, ...wait }, "a request waits long for a lock");
  }

  #nextMinute(minute: number): void {
    if (this.#untold > 0) this.#log.warn({ count: this.#untold }, "more requests wait long for locks");
    this.#minute = minute;
    this.#linesLeft = LINES_MAX;
    this.#untold = 0;
  }
}
