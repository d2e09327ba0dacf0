import type { AccountLimits } from "../loop/index.js";
import type { Key } from "./key.js";
import { Recent } from "./recent.js";
import { TokenBucket } from "./token-bucket.js";

/** The account of a self-hosted server; its keys are the operator's. */
export const ACCOUNT_DEFAULT = "default";

const DAY_MS = 24 * 3_600_000;
export const TRIAL_MS = 30 * DAY_MS;

/** `<account>/account`. */
export interface AccountRecord {
  /** ISO 8601, like all times here. */
  readonly createdAt: string;
  readonly email: string | null;
  /** Null: no trial, or no more. */
  readonly trialEndsAt: string | null;
  /** What an admin has set, in place of what is usual. */
  readonly limits?: Partial<Limits>;
}

/** What an account may have; null: as much as the server can (N3). */
export interface Limits extends AccountLimits {
  readonly requestsPerSecond: number | null;
  readonly keys: number;
  /** Native connections, and streams of events. */
  readonly connections: number | null;
  /** Pending webhook deliveries. */
  readonly deliveries: number | null;
}

export const LIMITS_TRIAL: Limits = {
  requestsPerSecond: 50,
  holds: 1_000,
  sessions: 100,
  waiters: 1_000,
  services: 20,
  keys: 100,
  connections: 200,
  deliveries: 1_000,
  acts: 10_000,
};

/** Of an account that is none for trial. */
export const LIMITS_FULL: Limits = {
  requestsPerSecond: null,
  holds: null,
  sessions: null,
  waiters: null,
  services: null,
  keys: 10_000,
  connections: null,
  deliveries: null,
  acts: null,
};

/** An account, as it is now. */
export class Account {
  readonly id: string;
  /** All of them. */
  readonly keys = new Set<Key>();
  /** Native connections and streams of events that are open here. */
  connections = 0;
  /** That were taken, of those that are counted. */
  readonly recent = new Recent();
  readonly #part: (account: string, ratePerS: number) => number;
  #record: AccountRecord;
  #limits: Limits;
  #trialEndsMs: number;
  #requests: TokenBucket | null = null;

  /** @param part which part of its requests a second may be made at this server, from 0 to 1; default: all */
  constructor(
    id: string,
    record: AccountRecord,
    part: (account: string, ratePerS: number) => number = () => 1,
  ) {
    this.id = id;
    this.#part = part;
    this.#record = record;
    this.#limits = LIMITS_FULL;
    this.#trialEndsMs = Number.POSITIVE_INFINITY;
    this.record = record;
  }

  get record(): AccountRecord {
    return this.#record;
  }

  set record(record: AccountRecord) {
    const rateBefore = this.#limits.requestsPerSecond;
    this.#record = record;
    this.#trialEndsMs =
      record.trialEndsAt === null ? Number.POSITIVE_INFINITY : Date.parse(record.trialEndsAt);
    this.#limits = { ...(record.trialEndsAt === null ? LIMITS_FULL : LIMITS_TRIAL), ...record.limits };
    const rate = this.#limits.requestsPerSecond;
    if (rate === rateBefore) return;
    this.#requests = rate === null ? null : new TokenBucket(rate, rate, () => this.#part(this.id, rate));
  }

  get limits(): Limits {
    return this.#limits;
  }

  /** True when it has limits beside the one of keys: what it has is counted over all members of a cluster. */
  get isLimited(): boolean {
    return Object.entries(this.#limits).some(([what, limit]) => what !== "keys" && limit !== null);
  }

  trialIsOver(wallMs: number): boolean {
    return wallMs >= this.#trialEndsMs;
  }

  /** Days that are left, the begun one too; null without a trial. */
  daysLeft(wallMs: number): number | null {
    if (this.#record.trialEndsAt === null) return null;
    return Math.max(0, Math.ceil((this.#trialEndsMs - wallMs) / DAY_MS));
  }

  /** Its requests (A5). Null: they are not counted. */
  get rate(): TokenBucket | null {
    return this.#requests;
  }
}
