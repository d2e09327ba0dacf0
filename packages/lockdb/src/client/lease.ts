import { type ClaimExtra, LIMITS, type LockNames, type Metadata, type Previous } from "../protocol/index.js";
import type { Runtime, Timer } from "../runtime/runtime.js";
import type { EnclosingHold } from "./context.js";
import { LockLostError } from "./errors.js";
import type { OuterHold } from "./inner-lease.js";
import { labelOf, namesIn } from "./names.js";
import { elapsedMs, type Moment, trustedMs, watchMs } from "./trust.js";
import type { Lease } from "./types.js";

/** What a lease needs from the session it lives in. */
export interface LeaseKeeper {
  readonly runtime: Runtime;
  /** What its service is to those who ask for something inside of it. */
  enclosedBy(lease: HeldLease): EnclosingHold;
  now(): Moment;
  /** How long the session itself can be trusted. */
  sessionRemainingMs(at?: Moment): number;
  /** True when renewals have been failing for half of the lease. */
  isAtRisk(): boolean;
  release(lease: HeldLease): Promise<boolean>;
  forget(lease: HeldLease): void;
  /** A look at the clocks has shown that it is over. The server may still have it. */
  ranOut(lease: HeldLease): void;
  /** Its own time is over, and the server will end it by itself. */
  ended(lease: HeldLease): void;
}

/** A lease as this package uses it itself. */
export interface OwnLease extends Lease {
  /** What is asked inside of this lease is asked inside of these: its own hold, and those around it (D1). */
  readonly enclosing: readonly EnclosingHold[];
  /** True until it is released or lost. */
  readonly isHeld: boolean;
  /** @throws LockLostError when it was lost; a release by its holder is no loss */
  assertNotLost(): void;
}

/** What was asked for, as far as the hold's own life depends on it. */
export interface LeaseTerms {
  readonly names: LockNames;
  readonly detachedMs: number | null;
  readonly minHoldMs: number | null;
  readonly maxHoldMs: number | null;
  readonly metadata: Metadata | null;
  /** It is for a leader. */
  readonly leads: boolean;
  /** The holds that it was asked for inside of (D1). */
  readonly enclosing: readonly EnclosingHold[];
}

/** What an operator has said who wants the hold back, and who is to hear of it. */
interface Asked {
  reason: string | null;
  readonly callbacks: ((reason: string) => void)[];
}

/** A hold as its holder sees it. It ends by `release`, by its own end, or with its session's trust. */
export class HeldLease implements OwnLease, OuterHold {
  readonly token: number;
  readonly ticket: number | undefined;
  readonly previous?: Previous;
  readonly terms: LeaseTerms;
  readonly #keeper: LeaseKeeper;
  /** A moment before the server granted it. */
  readonly #since: Moment;
  /** At this time at the latest it was granted. */
  readonly #heardAtMs: number;
  #ownEndTimer: Timer | null = null;
  #controller: AbortController | null = null;
  #lost: LockLostError | null = null;
  #releasing: Promise<boolean> | null = null;
  // Few leases have any, and a set takes more than all the rest.
  #atRisk: ((remainingMs: number) => void)[] | null = null;
  #asked: Asked | null = null;
  /** Those who work inside of it, under the same token. */
  #inside: Set<(why: LockLostError) => void> | null = null;

  constructor(
    keeper: LeaseKeeper,
    token: number,
    terms: LeaseTerms,
    since: Moment,
    heardAt: Moment,
    extra: { readonly ticket?: number; readonly previous?: Previous } = {},
  ) {
    this.#keeper = keeper;
    this.token = token;
    this.ticket = extra.ticket;
    if (extra.previous !== undefined) this.previous = extra.previous;
    this.terms = terms;
    this.#since = since;
    this.#heardAtMs = heardAt.monotonicMs;
    // One that is over before it begins is no lease: its grant came too late, and whoever makes it says so.
    if (terms.detachedMs === null && this.#ownRemainingMs() > 0) this.#watchOwnEnd();
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#watchDetached();
      this.#controller = new AbortController();
      if (this.#lost !== null) this.#controller.abort(this.#lost);
    }
    return this.#controller.signal;
  }

  get enclosing(): readonly EnclosingHold[] {
    return [...this.terms.enclosing, this.#keeper.enclosedBy(this)];
  }

  get remainingMs(): number {
    return this.remainingAt();
  }

  /** The same at a moment that has been read already. */
  remainingAt(at?: Moment): number {
    if (this.#lost !== null || this.#releasing !== null) return 0;
    const sessionMs =
      this.terms.detachedMs === null ? this.#keeper.sessionRemainingMs(at) : Number.POSITIVE_INFINITY;
    return Math.max(0, Math.floor(Math.min(this.#ownRemainingMs(at), sessionMs)));
  }

  /** True until it is released or lost. */
  get isHeld(): boolean {
    return this.#lost === null && this.#releasing === null;
  }

  get isLost(): boolean {
    return this.#lost !== null;
  }

  isKeptBy(keeper: LeaseKeeper): boolean {
    return this.#keeper === keeper;
  }

  onAtRisk(callback: (remainingMs: number) => void): void {
    this.#atRisk ??= [];
    this.#atRisk.push(callback);
    // Whoever comes to be at risk is told once; this listener has come after that.
    if (this.terms.detachedMs !== null || !this.isHeld || !this.#keeper.isAtRisk()) return;
    this.#keeper.runtime.defer(() => {
      if (this.isHeld) callback(this.remainingMs);
    });
  }

  onAsked(callback: (reason: string) => void): void {
    this.#asked ??= { reason: null, callbacks: [] };
    this.#asked.callbacks.push(callback);
    const { reason } = this.#asked;
    if (reason === null) return;
    this.#keeper.runtime.defer(() => {
      if (this.isHeld) callback(reason);
    });
  }

  /** An operator wants it back. What he says again is not told again. */
  askFor(reason: string): void {
    if (!this.isHeld || this.#asked?.reason === reason) return;
    this.#asked ??= { reason, callbacks: [] };
    this.#asked.reason = reason;
    this.#callAll(this.#asked.callbacks, reason);
  }

  assertHeld(): void {
    this.assertNotLost();
    if (this.#releasing !== null) throw this.#released();
  }

  /** @throws LockLostError when it was lost; a release by its holder is no loss */
  assertNotLost(): void {
    if (this.#lost !== null) throw this.#lost;
    if (this.#releasing !== null) return;
    // The timer that aborts the signal may be late: a blocked event loop fires none.
    if (this.remainingMs > 0) return;
    this.#keeper.ranOut(this);
    // Whoever heard of another loss may have released this one meanwhile.
    throw this.#lost ?? this.#released();
  }

  onOver(callback: (why: LockLostError) => void): () => void {
    this.#watchDetached();
    const over = this.#lost ?? (this.#releasing === null ? null : this.#released());
    if (over !== null) {
      callback(over);
      return () => {};
    }
    this.#inside ??= new Set();
    this.#inside.add(callback);
    return () => this.#inside?.delete(callback);
  }

  release(): Promise<boolean> {
    if (this.#releasing === null) {
      this.#ownEndTimer?.cancel();
      if (this.#inside !== null) this.#tellInside(this.#inside, this.#released());
      // A detached hold may still be there when its holder has stopped to trust it.
      const mayBeThere = this.#lost === null || this.terms.detachedMs !== null;
      this.#releasing = mayBeThere ? this.#keeper.release(this) : Promise.resolve(false);
    }
    return this.#releasing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** Its release is settled: the session need not speak of it any more. */
  over(): void {
    this.#keeper.forget(this);
  }

  /** Ends it here and now, whatever the server knows. */
  lose(why: string): void {
    if (this.#lost !== null) return;
    this.#ownEndTimer?.cancel();
    this.#keeper.forget(this);
    if (this.#releasing !== null) return;
    this.#lost = this.lossBecause(why);
    this.#controller?.abort(this.#lost);
    if (this.#inside !== null) this.#tellInside(this.#inside, this.#lost);
  }

  /** What to say of its loss. */
  lossBecause(why: string): LockLostError {
    return new LockLostError(
      `${labelOf(this.terms.names)} (token ${this.token}) was lost: ${why}. Stop the work it protected, then ask again.`,
      { names: namesIn(this.terms.names), token: this.token },
    );
  }

  #released(): LockLostError {
    return new LockLostError(`${labelOf(this.terms.names)} was released.`, { token: this.token });
  }

  #tellInside(inside: ReadonlySet<(why: LockLostError) => void>, why: LockLostError): void {
    for (const callback of inside) callback(why);
    this.#inside = null;
  }

  /** Tells its holder to stop, for a reason of his own: the hold stays. */
  stop(reason: unknown): void {
    void this.signal;
    this.#controller!.abort(reason);
  }

  warn(remainingMs: number): void {
    this.#callAll(this.#atRisk ?? [], remainingMs);
  }

  #callAll<T>(callbacks: readonly ((value: T) => void)[], value: T): void {
    for (const callback of callbacks) {
      try {
        callback(value);
      } catch (error) {
        // The other listeners, and the loss that may follow, must not wait for the mistake of this one.
        this.#keeper.runtime.defer(() => {
          throw error;
        });
      }
    }
  }

  /** What a resume says of it (R3). */
  get claim(): ClaimExtra {
    const { minHoldMs, maxHoldMs, metadata, leads } = this.terms;
    // By the clock that cannot be set: what the server takes for its end must not be earlier than what we believe.
    const heldMs = this.#keeper.now().monotonicMs - this.#since.monotonicMs;
    const slackMs = Math.max(0, Math.ceil(this.#heardAtMs - this.#since.monotonicMs));
    return {
      heldMs: Math.max(0, Math.floor(heldMs)),
      // Counted from the grant, which may be later than the moment from which `heldMs` counts.
      ...(minHoldMs === null ? {} : { minHoldMs: Math.min(minHoldMs + slackMs, LIMITS.durationMsMax) }),
      ...(maxHoldMs === null ? {} : { maxHoldMs }),
      ...(metadata === null ? {} : { metadata }),
      ...(leads ? { leads } : {}),
    };
  }

  #ownRemainingMs(at?: Moment): number {
    const { detachedMs, maxHoldMs } = this.terms;
    const spanMs = detachedMs ?? maxHoldMs;
    if (spanMs === null) return Number.POSITIVE_INFINITY;
    return trustedMs(spanMs) - elapsedMs(this.#since, at ?? this.#keeper.now());
  }

  /**
   * From now on somebody would hear of the end of a detached hold. Before, its end is seen by the clock when it is asked for: there may be very many, ended by name, of
   * which nobody has kept more than the name.
   */
  #watchDetached(): void {
    if (this.terms.detachedMs !== null && this.#ownEndTimer === null && this.isHeld) this.#watchOwnEnd();
  }

  #watchOwnEnd(): void {
    const restMs = this.#ownRemainingMs();
    if (restMs === Number.POSITIVE_INFINITY) return;
    if (restMs > 0) {
      this.#ownEndTimer = this.#keeper.runtime.setTimer(() => this.#watchOwnEnd(), watchMs(restMs), false);
      return;
    }
    this.#keeper.ended(this);
    this.lose(this.terms.detachedMs === null ? "its longest hold time is over" : "its time is over");
  }
}
