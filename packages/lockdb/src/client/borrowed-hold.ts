import type { Runtime, Timer } from "../runtime/runtime.js";
import { LockLostError } from "./errors.js";
import type { OuterHold } from "./inner-lease.js";
import { type Moment, SessionTrust } from "./trust.js";

/** How long a hold lasts unrenewed, and a moment before that was so. */
export interface BorrowedTime {
  readonly expiresInMs: number;
  readonly since: Moment;
}

/**
 * A hold of another client, which this one works inside of (D3). Its holder renews it; here it is looked after now and then,
 * and not believed in when the answers stay away.
 */
export class BorrowedHold implements OuterHold {
  readonly token: number;
  readonly #label: string;
  readonly #runtime: Runtime;
  readonly #look: () => Promise<BorrowedTime | null>;
  readonly #spanMs: number;
  readonly #trust: SessionTrust;
  /** Who works inside of it. */
  #inside: ((why: LockLostError) => void) | null = null;
  #isLeft = false;
  readonly #atRisk: ((remainingMs: number) => void)[] = [];
  #lost: LockLostError | null = null;
  #timer: Timer | null = null;

  /**
   * @param trustedMsMax however long the hold itself may last: its holder may let it go at any time, and does not tell
   * @param look asks the server for the hold; null when it is over, and no answer is an error
   */
  constructor(
    runtime: Runtime,
    token: number,
    label: string,
    { expiresInMs, since }: BorrowedTime,
    trustedMsMax: number,
    look: () => Promise<BorrowedTime | null>,
  ) {
    this.#runtime = runtime;
    this.token = token;
    this.#label = label;
    this.#spanMs = Math.min(expiresInMs, trustedMsMax);
    this.#look = look;
    this.#trust = new SessionTrust(runtime, this.#spanMs, {
      atRisk: (remainingMs) => {
        for (const callback of this.#atRisk) callback(remainingMs);
      },
      over: () => this.#lose("nothing was heard of it in time"),
    });
    this.#trust.renew(since);
    this.#arm();
  }

  /** Its own holder is asked. */
  onAsked(): void {}

  onOver(callback: (why: LockLostError) => void): () => void {
    if (this.#lost !== null) callback(this.#lost);
    else this.#inside = callback;
    return () => {
      this.#inside = null;
    };
  }

  get remainingMs(): number {
    return this.#lost === null ? Math.max(0, Math.floor(this.#trust.remainingMs)) : 0;
  }

  onAtRisk(callback: (remainingMs: number) => void): void {
    this.#atRisk.push(callback);
  }

  assertNotLost(): void {
    this.#trust.check();
    if (this.#lost !== null) throw this.#lost;
  }

  left(): void {
    this.#isLeft = true;
    this.#timer?.cancel();
    this.#trust.reset();
  }

  #arm(): void {
    this.#timer = this.#runtime.setTimer(() => void this.#renew(), Math.max(1, this.#spanMs / 3), false);
  }

  async #renew(): Promise<void> {
    try {
      const found = await this.#look();
      if (this.#isLeft) return;
      if (found === null) return this.#lose("its holder has released or lost it");
      const lessMs = Math.min(0, found.expiresInMs - this.#spanMs);
      const { monotonicMs, wallMs } = found.since;
      this.#trust.renew({ monotonicMs: monotonicMs + lessMs, wallMs: wallMs + lessMs });
    } catch {
      // No answer: it is trusted for as long as the last one said.
    }
    if (!this.#isLeft) this.#arm();
  }

  #lose(why: string): void {
    this.left();
    this.#lost = new LockLostError(
      `${this.#label} (token ${this.token}, held by an enclosing call) cannot be trusted any more: ${why}.`,
      { token: this.token },
    );
    this.#inside?.(this.#lost);
  }
}
