import type { Act, Keeper, OutsideRecord } from "./outbox.js";
import type { Placement } from "./placement.js";

/** Digits of the number that keeps entries of one millisecond in their order. */
const NUMBER_LENGTH = 9;

/** What was done by hand, and by whom: it is only added to (A7). */
export class AuditLog implements Keeper {
  readonly kinds: ReadonlySet<string> = new Set(["audit"]);
  readonly #wallMs: () => number;
  readonly #cluster: Pick<Placement, "memberId"> | undefined;
  readonly #countByAccount = new Map<string, number>();
  #number = 0;

  /** @param cluster who writes beside others: no two of them write under one key */
  constructor(wallMs: () => number, cluster?: Pick<Placement, "memberId">) {
    this.#wallMs = wallMs;
    this.#cluster = cluster;
  }

  restore(records: readonly OutsideRecord[]): void {
    this.#countByAccount.clear();
    for (const { key } of records) this.#count(key.slice(0, key.indexOf("/")));
  }

  /** Entries of an account. */
  countOf(account: string): number {
    return this.#countByAccount.get(account) ?? 0;
  }

  /**
   * The record of an act.
   * @param leaseMs lease time: the time of day may come twice, when it is set back
   */
  record({ account, ...facts }: Act, leaseMs: number): OutsideRecord {
    const at = new Date(this.#wallMs()).toISOString();
    const number = String(++this.#number).padStart(NUMBER_LENGTH, "0");
    const by = this.#cluster === undefined ? "" : `-${this.#cluster.memberId}`;
    this.#count(account);
    const key = `${auditPrefix(account)}${at}-${number}-${Math.floor(leaseMs)}${by}`;
    return { key, value: { at, ...facts } };
  }

  #count(account: string): void {
    this.#countByAccount.set(account, this.countOf(account) + 1);
  }
}

/** What the keys of an account's entries begin with. Behind it they are in the order of time. */
export function auditPrefix(account: string): string {
  return `${account}/audit/`;
}
