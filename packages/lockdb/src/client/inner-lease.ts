import type { Previous } from "../protocol/index.js";
import type { EnclosingHold } from "./context.js";
import { LockLostError } from "./errors.js";
import type { OwnLease } from "./lease.js";

/** The hold that an inner lease is a part of, as far as this client can know it. */
export interface OuterHold {
  readonly token: number;
  readonly remainingMs: number;
  readonly previous?: Previous;
  onAtRisk(callback: (remainingMs: number) => void): void;
  onAsked(callback: (reason: string) => void): void;
  /** Calls back when it is over, lost or released, with what that is to those inside; at once if it is. Returns the way out. */
  onOver(callback: (why: LockLostError) => void): () => void;
  /** @throws LockLostError when it was lost */
  assertNotLost(): void;
  /** Nobody asks after it any more. */
  left?(): void;
}

/** A lock that an enclosing hold has already, granted again as the same hold (D3). Its release frees nothing. */
export class InnerLease implements OwnLease {
  readonly ticket = undefined;
  readonly enclosing: readonly EnclosingHold[];
  readonly previous?: Previous;
  readonly #outer: OuterHold;
  readonly #controller = new AbortController();
  readonly #forgetOuter: () => void;
  #over: LockLostError | null = null;
  #isReleased = false;

  constructor(outer: OuterHold, enclosing: readonly EnclosingHold[]) {
    this.#outer = outer;
    if (outer.previous !== undefined) this.previous = outer.previous;
    this.enclosing = enclosing;
    this.#forgetOuter = outer.onOver((why) => {
      this.#over = why;
      this.#controller.abort(why);
    });
  }

  get token(): number {
    return this.#outer.token;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isHeld(): boolean {
    return !this.#isReleased && this.#over === null;
  }

  get remainingMs(): number {
    return this.isHeld ? this.#outer.remainingMs : 0;
  }

  onAtRisk(callback: (remainingMs: number) => void): void {
    this.#outer.onAtRisk((remainingMs) => {
      if (this.isHeld) callback(remainingMs);
    });
  }

  onAsked(callback: (reason: string) => void): void {
    this.#outer.onAsked((reason) => {
      if (this.isHeld) callback(reason);
    });
  }

  assertHeld(): void {
    this.assertNotLost();
    if (this.#isReleased) throw new LockLostError(`The hold with the token ${this.token} was released.`);
  }

  assertNotLost(): void {
    if (this.#isReleased) return;
    this.#outer.assertNotLost();
    if (this.#over !== null) throw this.#over;
  }

  async release(): Promise<boolean> {
    const wasHeld = this.isHeld;
    if (!this.#isReleased) {
      this.#forgetOuter();
      this.#outer.left?.();
    }
    this.#isReleased = true;
    return wasHeld;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}
