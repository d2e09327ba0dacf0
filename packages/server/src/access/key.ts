import { SCOPES, type Scope } from "lockdb/protocol";
import { ACCOUNT_DEFAULT, type Account } from "./account.js";
import { TokenBucket } from "./token-bucket.js";

export type { KeyInfo } from "lockdb/protocol";

/** `<account>/key/<id>`. */
export interface KeyRecord {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Null: all, also those that come to be later. */
  readonly services: readonly string[] | null;
  readonly createdAt: string | null;
  readonly createdBy: string;
  readonly expiresAt: string | null;
  /** The newest first, at most two. */
  readonly secrets: readonly SecretRecord[];
  readonly lastUsedAt: string | null;
}

export interface SecretRecord {
  readonly hash: string;
  /** Of one that another has replaced. */
  readonly endsAt: string | null;
}

/** How much more often one may give back than ask (A5), and how often at once: also who gives back all that a trial may hold. */
const WAY_OUT_FACTOR = 10;
const WAY_OUT_BURST = 2_000;

/** What a key may do, where, and until when. */
export type Might = Pick<KeyRecord, "scopes" | "services" | "expiresAt">;

/** True when the first may nothing that the second may not. */
export function isWithin(less: Might, more: Might): boolean {
  const hasScopes = less.scopes.every((scope) => more.scopes.includes(scope));
  const hasServices = areAmong(less.services, more.services);
  return hasScopes && hasServices && timeOf(less.expiresAt) <= timeOf(more.expiresAt);
}

/** True when the first of these are all among the second. Null: all services. */
export function areAmong(services: KeyRecord["services"], of: KeyRecord["services"]): boolean {
  return of === null || services?.every((each) => of.includes(each)) === true;
}

/** The operator's key, which is set from outside and has no end. */
export const ROOT = "root";

/** A key, as it is now. It outlives its record: whoever has it open sees that it is revoked. */
export class Key {
  readonly id: string;
  readonly account: Account;
  /** Called when it may do less than before. */
  readonly watchers = new Set<() => void>();
  /** Rises with each change. */
  version = 0;
  #record: KeyRecord | null;
  wasUsed = false;
  #waysOut: TokenBucket | null = null;

  constructor(id: string, account: Account, record: KeyRecord) {
    this.id = id;
    this.account = account;
    this.#record = record;
  }

  /** Null: revoked. */
  get record(): KeyRecord | null {
    return this.#record;
  }

  set record(record: KeyRecord | null) {
    this.#record = record;
    this.version++;
    this.changed();
  }

  /** A record that says no more than when it was used last: nobody need be told. */
  used(record: KeyRecord): void {
    this.#record = record;
  }

  /** Tells those who have it open. */
  changed(): void {
    for (const watcher of [...this.watchers]) watcher();
  }

  /** What gives back or keeps, at an account with this rate of requests: of each key its own, so that none can use up those of others. */
  waysOut(ratePerS: number): TokenBucket {
    const rate = Math.max(1, ratePerS) * WAY_OUT_FACTOR;
    if (this.#waysOut?.ratePerS !== rate) this.#waysOut = new TokenBucket(rate, WAY_OUT_BURST);
    return this.#waysOut;
  }

  get isRoot(): boolean {
    return this.id === ROOT && this.account.id === ACCOUNT_DEFAULT;
  }

  /** When it ends by time, alone or with this secret. Infinity: never. Zero: it has ended, or never had this secret. */
  endsMs(hash: string): number {
    const secret = this.#record?.secrets.find((each) => each.hash === hash);
    if (secret === undefined) return 0;
    return Math.min(timeOf(this.#record!.expiresAt), timeOf(secret.endsAt));
  }

  /** All ends that are ahead or past. */
  get ends(): readonly number[] {
    if (this.#record === null) return [];
    return [this.#record.expiresAt, ...this.#record.secrets.map(({ endsAt }) => endsAt)].map(timeOf);
  }
}

export function timeOf(at: string | null): number {
  return at === null ? Number.POSITIVE_INFINITY : Date.parse(at);
}

/** The root key's record. Its first form was `{hash}`. */
export function rootRecord(hash: string, createdAt: string | null): KeyRecord {
  return {
    name: "root key",
    scopes: SCOPES,
    services: null,
    createdAt,
    createdBy: "the server",
    expiresAt: null,
    secrets: [{ hash, endsAt: null }],
    lastUsedAt: null,
  };
}

/** Of the secret that is in use. */
export function rootHash(root: Key | undefined): string | null {
  return root?.record?.secrets[0]?.hash ?? null;
}
