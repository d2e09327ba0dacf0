import type { Caller, Need } from "../loop/index.js";
import type { Account } from "./account.js";
import { areAmong, isWithin, type Key, type KeyRecord, type Might, timeOf } from "./key.js";
import { TokenBucket } from "./token-bucket.js";

/** Requests that were made before a connection broke are made again at once, however many a second are allowed: they are made up for later. */
const DEBT_MAX = 2_000;

/** As many refusals at once are no attack: somebody began more than he may. */
const REFUSALS_BURST = 2_000;

interface Clocks {
  wallMs(): number;
  monotonicMs(): number;
}

/** Somebody who has shown a secret of a key. What the key may do is looked at each time it matters (A2). */
export class KeyCaller implements Caller {
  readonly key: Key;
  readonly #hash: string;
  readonly #clocks: Clocks;
  #refusals: TokenBucket | null = null;
  #version = -1;
  #endsMs = 0;

  constructor(key: Key, hash: string, clocks: Clocks) {
    this.key = key;
    this.#hash = hash;
    this.#clocks = clocks;
  }

  get account(): string {
    return this.key.account.id;
  }

  get owner(): Account {
    return this.key.account;
  }

  get label(): string {
    return this.key.isRoot ? "root key" : `key ${this.key.id}`;
  }

  /** Its key's record, while that is valid. */
  get record(): KeyRecord | null {
    const { key } = this;
    if (this.#version !== key.version) {
      this.#version = key.version;
      this.#endsMs = key.endsMs(this.#hash);
    }
    const isOver =
      this.#endsMs !== Number.POSITIVE_INFINITY &&
      (this.#endsMs === 0 || this.#clocks.wallMs() >= this.#endsMs);
    return isOver ? null : key.record;
  }

  refusal(need: Need, service: string | null): "UNAUTHORIZED" | "FORBIDDEN" | null {
    const { record } = this;
    if (record === null) return "UNAUTHORIZED";
    const { services, scopes } = record;
    if (services !== null && (service === null ? need.isOverall === true : !services.includes(service)))
      return "FORBIDDEN";
    if (need.scopes.length > 0 && !need.scopes.some((scope) => scopes.includes(scope))) return "FORBIDDEN";
    return null;
  }

  get trialIsOver(): boolean {
    return this.owner.trialIsOver(this.#clocks.wallMs());
  }

  take(need: Need): boolean {
    this.key.wasUsed = true;
    const { rate } = this.owner;
    if (rate === null) return true;
    const nowMs = this.#clocks.monotonicMs();
    if (need.isWayOut === true) return this.key.waysOut(rate.ratePerS).take(nowMs);
    const isTaken = rate.take(nowMs);
    if (isTaken) this.owner.recent.add(nowMs);
    return isTaken;
  }

  borrow(): boolean {
    const nowMs = this.#clocks.monotonicMs();
    const isTaken = this.owner.rate?.borrow(nowMs, DEBT_MAX) !== false;
    if (isTaken && this.owner.rate !== null) this.owner.recent.add(nowMs);
    return isTaken;
  }

  mayBeRefused(): boolean {
    const { rate } = this.owner;
    if (rate === null) return true;
    this.#refusals ??= new TokenBucket(Math.max(1, rate.ratePerS), REFUSALS_BURST);
    return this.#refusals.take(this.#clocks.monotonicMs());
  }

  /** What is left of the account's requests for this second; null: they are not counted. */
  get quota(): { readonly ratePerS: number; readonly left: number } | null {
    const { rate } = this.owner;
    return rate === null ? null : { ratePerS: rate.ratePerS, left: rate.left(this.#clocks.monotonicMs()) };
  }

  watch(changed: () => void): () => void {
    // One of its own each time: a set keeps the same function once.
    const watcher = () => changed();
    this.key.watchers.add(watcher);
    return () => void this.key.watchers.delete(watcher);
  }

  /** True when it is for all of these services. Null: for those of the whole account. */
  isForAll(services: KeyRecord["services"]): boolean {
    return this.record !== null && areAmong(services, this.record.services);
  }

  /**
   * True when it may do all that the other key may, and for as long as its own secret lasts: only then it may give that away, or
   * change it.
   */
  covers(other: Might): boolean {
    return this.record !== null && isWithin(other, this.record) && timeOf(other.expiresAt) <= this.#endsMs;
  }
}
