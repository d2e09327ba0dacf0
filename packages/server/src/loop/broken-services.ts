import type { ServerTotals } from "./server-totals.js";
import type { ServiceKey } from "./service.js";
import type { StoredService } from "./stored.js";

/** More failures than these in this time are no accident: the server stops, rather than fail again and again. */
const FAILURES_MAX = 3;
const WINDOW_MS = 60_000;

export interface BrokenServicesHost {
  monotonicMs(): number;
  /** Nothing else has become of it meanwhile: the store has not failed, and the server does not stop. */
  isWanted(key: ServiceKey): boolean;
  /** Resolves when all that is known by now of any service is durable. Rejects when that is not known. */
  flushed(): Promise<void>;
  read(key: ServiceKey): Promise<StoredService>;
  /** Puts a service whose memory was dropped back to work. @throws Error when its records cannot be taken up */
  restore(stored: StoredService): void;
  readonly totals: ServerTotals;
  readonly log: { error(facts: object, text: string): void };
  /** Nothing more can be done here. */
  onFatal(error: Error): void;
}

/**
 * What becomes of a service whose rules threw an error: a mistake of ours, after which nothing in its memory can be
 * believed. It is read from the store again, as after a crash (R7), while all others go on.
 */
export class BrokenServices {
  readonly #host: BrokenServicesHost;
  #failedAtMs: number[] = [];

  constructor(host: BrokenServicesHost) {
    this.#host = host;
  }

  /** Its memory is dropped already, and nobody hears of what was not flushed. */
  broke(key: ServiceKey, error: unknown): void {
    const { account, id: service } = key;
    const nowMs = this.#host.monotonicMs();
    this.#failedAtMs = [...this.#failedAtMs.filter((atMs) => atMs > nowMs - WINDOW_MS), nowMs];
    this.#host.totals.serviceFailures++;
    this.#host.log.error(
      { err: error, account, service },
      "a service failed by a mistake in LockDB: its memory is dropped, and read from the store anew",
    );
    if (this.#failedAtMs.length <= FAILURES_MAX) return void this.#recover(key);
    const seconds = WINDOW_MS / 1_000;
    const text = `Services failed ${this.#failedAtMs.length} times in ${seconds} seconds, the last one with: ${String(error)}`;
    this.#host.onFatal(new Error(text, { cause: error }));
  }

  async #recover(key: ServiceKey): Promise<void> {
    try {
      // What it has written is in the store before it is read there.
      await this.#host.flushed();
      const stored = await this.#host.read(key);
      if (this.#host.isWanted(key)) this.#host.restore(stored);
    } catch (error) {
      // When the store has failed as well, all services are read anew, and this one with them.
      if (this.#host.isWanted(key)) this.broke(key, error);
    }
  }
}
