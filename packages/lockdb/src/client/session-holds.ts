import type { ClientMessage } from "../protocol/index.js";
import type { HeldLease } from "./lease.js";

/** A client's session holds, by token: those it trusts, and those it has lost that the server may still have. */
export class SessionHolds {
  /** Also those whose release is on its way. */
  readonly #held = new Map<number, HeldLease>();
  /** Lost by this machine's clocks. */
  readonly #lost = new Map<number, HeldLease>();
  /** Those of them that the present connection has begun with. */
  #saidLost: readonly HeldLease[] = [];

  /** How many there are to keep. */
  get size(): number {
    return this.#held.size;
  }

  /** A copy: whoever hears of a loss may release another. */
  get held(): readonly HeldLease[] {
    return [...this.#held.values()];
  }

  get lostOnes(): readonly HeldLease[] {
    return [...this.#lost.values()];
  }

  get(token: number): HeldLease | undefined {
    return this.#held.get(token);
  }

  add(lease: HeldLease): void {
    this.#held.set(lease.token, lease);
  }

  /** It is over: there is nothing to say of it any more. */
  forget(lease: HeldLease): void {
    if (this.#held.get(lease.token) === lease) this.#held.delete(lease.token);
  }

  /** It is not trusted any more, and the server does not know that. */
  lost(lease: HeldLease): void {
    this.#lost.set(lease.token, lease);
  }

  /** The server has ended it. */
  ended(token: number): void {
    this.#lost.delete(token);
  }

  /** The server has heard what the present connection has begun with. */
  claimsHeard(): void {
    for (const { token } of this.#saidLost) this.#lost.delete(token);
  }

  /** The session is over, and all it held. */
  forgetLost(): void {
    this.#lost.clear();
  }

  /** What a resume says of them (R3). */
  claims(): readonly ClientMessage[] {
    this.#saidLost = this.lostOnes;
    const claims: ClientMessage[] = [];
    for (const { token, terms, claim } of this.#held.values())
      claims.push(["hold", token, terms.name, claim]);
    for (const { token, terms, claim } of this.#saidLost) {
      claims.push(["hold", token, terms.name, { ...claim, lost: true }]);
    }
    return claims;
  }
}
