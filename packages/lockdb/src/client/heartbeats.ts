import type { Runtime, Timer } from "../runtime/runtime.js";
import type { AcquireRequest } from "./request.js";

/** What heartbeats need from the session they keep up. */
export interface HeartbeatHost {
  /** Time since the last renewal, whatever it was. */
  ageMs(): number;
  /** True while nobody has answered this request. */
  isPending(request: AcquireRequest): boolean;
  /** Asks for a renewal, and calls back when it is answered. */
  send(answered: () => void): void;
  /** A heartbeat was not answered in good time: the connection is half open, or the server stands still. */
  failed(): void;
}

/** Renews a session on a connection that works, whenever nothing else has for a third of its lease (L4). */
export class Heartbeats {
  readonly #runtime: Runtime;
  readonly #leaseMs: number;
  readonly #host: HeartbeatHost;
  /** Requests for holds so short that they need more heartbeats while they wait, and some that were answered since. */
  readonly #shortWaits = new Set<AcquireRequest>();
  #timer: Timer | null = null;
  /** When the one that is on its way was sent. */
  #sentAtMs: number | null = null;

  constructor(runtime: Runtime, leaseMs: number, host: HeartbeatHost) {
    this.#runtime = runtime;
    this.#leaseMs = leaseMs;
    this.#host = host;
  }

  /** Begins on a connection, or looks again when the next one is due. */
  start(): void {
    this.#arm(this.#beatMs - this.#host.ageMs());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#sentAtMs = null;
  }

  /** A request stands in the queue. */
  mind(request: AcquireRequest): void {
    if (request.beatMs >= this.#leaseMs / 3 || this.#shortWaits.has(request)) return;
    this.#shortWaits.add(request);
    if (this.#timer !== null) this.start();
  }

  /**
   * How old the last renewal may become. While a request waits for a hold that is short itself it is less: the last
   * moment that is known to have been before its grant must not be older than the hold lasts (L5).
   */
  get #beatMs(): number {
    let beatMs = this.#leaseMs / 3;
    for (const request of this.#shortWaits) {
      if (this.#host.isPending(request)) beatMs = Math.min(beatMs, request.beatMs);
      else this.#shortWaits.delete(request);
    }
    return beatMs;
  }

  #arm(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#runtime.setTimer(() => this.#beat(), Math.max(1, ms), false);
  }

  #beat(): void {
    const beatMs = this.#beatMs;
    const restMs = beatMs - this.#host.ageMs();
    if (restMs > 0) return this.#arm(restMs);
    if (this.#sentAtMs === null) {
      this.#sentAtMs = this.#runtime.monotonicMs();
      this.#host.send(() => {
        this.#sentAtMs = null;
      });
      return this.#arm(beatMs);
    }
    const patienceMs = this.#leaseMs / 3 - (this.#runtime.monotonicMs() - this.#sentAtMs);
    if (patienceMs <= 0) this.#host.failed();
    else this.#arm(Math.min(beatMs, patienceMs));
  }
}
