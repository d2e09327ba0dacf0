import { NumberMap } from "#number-map";
import type { ClientMessage, LockInfo } from "../protocol/index.js";
import type { Runtime } from "../runtime/runtime.js";
import type { EnclosingHold, Place } from "./context.js";
import type { GrantHost } from "./granting.js";
import type { HeldLease } from "./lease.js";
import type { AcquireRequest } from "./request.js";
import { type Moment, now, SessionTrust } from "./trust.js";

/** What holds need from the session that they live in. */
export interface HoldsHost {
  readonly place: Place;
  release(lease: HeldLease): Promise<boolean>;
  giveBack(request: AcquireRequest, token: number): void;
  askAgain(request: AcquireRequest, waitMs: number): void;
  inspect(name: string, token: number): Promise<LockInfo>;
  /** Tells the server of a loss, if there is a connection; calls back when it has heard. A resume says it, too. */
  sayLost(token: number, heard: () => void): void;
  /** There are more or fewer of them. */
  changed(): void;
}

/**
 * A client's session holds, by token: those it trusts, and those it has lost that the server may still have. And how long the
 * session can be trusted, on which all of them depend.
 */
export class SessionHolds implements GrantHost {
  readonly runtime: Runtime;
  readonly leaseMs: number;
  readonly #host: HoldsHost;
  readonly #trust: SessionTrust;
  #heardAt: Moment | null = null;
  /** Also those whose release is on its way. */
  readonly #held = new NumberMap<HeldLease>();
  /** Lost by this machine's clocks. */
  readonly #lost = new Map<number, HeldLease>();
  /** Those of them that the present connection has begun with. */
  #saidLost: readonly HeldLease[] = [];

  constructor(runtime: Runtime, leaseMs: number, host: HoldsHost) {
    this.runtime = runtime;
    this.leaseMs = leaseMs;
    this.#host = host;
    this.#trust = new SessionTrust(runtime, leaseMs, {
      atRisk: (remainingMs) => {
        for (const lease of this.held) lease.warn(remainingMs);
      },
      over: () => this.loseAll("the server could not be reached in time"),
    });
  }

  get place(): Place {
    return this.#host.place;
  }

  // --- trust ---

  now(): Moment {
    return now(this.runtime);
  }

  /** When what is being read was heard: one moment for all that one frame says. */
  get heardAt(): Moment {
    this.#heardAt ??= this.now();
    return this.#heardAt;
  }

  /** Another frame begins, or somebody's listeners have had their turn, for as long as they liked. */
  lookAnew(): void {
    this.#heardAt = null;
  }

  get renewedAt(): Moment | null {
    return this.#trust.renewedAt;
  }

  /** Time since the session was last renewed. */
  get ageMs(): number {
    return this.#trust.ageMs;
  }

  sessionRemainingMs(at?: Moment): number {
    return at === undefined ? this.#trust.remainingMs : this.#trust.remainingAt(at);
  }

  isAtRisk(): boolean {
    return this.#trust.isAtRisk;
  }

  /** The server has renewed the session at some time after this moment. */
  renew(moment: Moment): void {
    this.#trust.renew(moment);
  }

  /** Reads the clocks: holds may be over. */
  check(): void {
    this.#trust.check();
  }

  /** The session is over, and all it held. */
  reset(): void {
    this.#lost.clear();
    this.#trust.reset();
  }

  // --- holds ---

  /** How many there are to keep. */
  get size(): number {
    return this.#held.size;
  }

  /** A copy: whoever hears of a loss may release another. */
  get held(): readonly HeldLease[] {
    return [...this.#held.values()].sort((a, b) => a.token - b.token);
  }

  get lostOnes(): readonly HeldLease[] {
    return [...this.#lost.values()];
  }

  ownHold(token: number): HeldLease | undefined {
    return this.#held.get(token);
  }

  enclosedBy(lease: HeldLease): EnclosingHold {
    return { ...this.#host.place, token: lease.token, lease };
  }

  keep(lease: HeldLease): void {
    this.#held.set(lease.token, lease);
  }

  release(lease: HeldLease): Promise<boolean> {
    return this.#host.release(lease);
  }

  giveBack(request: AcquireRequest, token: number): void {
    this.#host.giveBack(request, token);
  }

  askAgain(request: AcquireRequest, waitMs: number): void {
    this.#host.askAgain(request, waitMs);
  }

  inspect(name: string, token: number): Promise<LockInfo> {
    return this.#host.inspect(name, token);
  }

  /** It is over: there is nothing to say of it any more. */
  forget(lease: HeldLease): void {
    if (this.#held.get(lease.token) === lease) this.#held.delete(lease.token);
    this.#host.changed();
  }

  ended(lease: HeldLease): void {
    if (lease.isHeld && lease.terms.detachedMs === null) this.#lost.set(lease.token, lease);
  }

  ranOut(lease: HeldLease): void {
    this.#trust.check();
    this.#lose(lease, "its lease ran out");
  }

  loseAll(why: string): void {
    for (const lease of this.held) this.#lose(lease, why);
  }

  #lose(lease: HeldLease, why: string): void {
    const isOurs = lease.isHeld && lease.terms.detachedMs === null;
    lease.lose(why);
    this.lookAnew();
    if (!isOurs) return;
    // The server may still have it, and nobody will use it any more.
    this.#lost.set(lease.token, lease);
    this.#host.sayLost(lease.token, () => this.#lost.delete(lease.token));
  }

  // --- what the server knows ---

  /** The server has ended it. */
  heardEnded(token: number): void {
    this.#lost.delete(token);
  }

  /** The server has heard what the present connection has begun with. */
  claimsHeard(): void {
    for (const { token } of this.#saidLost) this.#lost.delete(token);
  }

  /** What a resume says of them (R3). */
  claims(): readonly ClientMessage[] {
    this.#saidLost = this.lostOnes;
    const claims: ClientMessage[] = [];
    for (const { token, terms, claim } of this.#held.values())
      claims.push(["hold", token, terms.names, claim]);
    for (const { token, terms, claim } of this.#saidLost) {
      claims.push(["hold", token, terms.names, { ...claim, lost: true }]);
    }
    return claims;
  }
}
