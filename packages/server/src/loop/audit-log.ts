import type { Act, Keeper, OutsideRecord } from "./outbox.js";
import type { Placement } from "./placement.js";

/** Digits of the number that keeps entries of one millisecond in their order. */
const NUMBER_LENGTH = 9;

/** What was done by hand, and by whom: it is only added to (A7). */
export class AuditLog implements Keeper {
  readonly kinds: ReadonlySet<string> = new Set(["audit"]);
  readonly #wallMs: () => number;
  readonly #cluster: Pick<Placement, "memberId"> | undefined;
  /** By account, and by who wrote them; `""`: nobody of this cluster. */
  readonly #counts = new Map<string, Map<string, number>>();
  #number = 0;

  /** @param cluster who writes beside others: no two of them write under one key */
  constructor(wallMs: () => number, cluster?: Pick<Placement, "memberId">) {
    this.#wallMs = wallMs;
    this.#cluster = cluster;
  }

  restore(records: readonly OutsideRecord[]): void {
    this.#counts.clear();
    for (const { key } of records) this.#count(key.slice(0, key.indexOf("/")), memberIn(key));
  }

  /** Entries of an account. */
  countOf(account: string): number {
    let sum = 0;
    for (const count of this.#counts.get(account)?.values() ?? []) sum += count;
    return sum;
  }

  /** Entries of an account that this very member has made, since it joined. */
  ownOf(account: string): number {
    return this.#counts.get(account)?.get(this.#cluster?.memberId ?? "") ?? 0;
  }

  /** Another member says how many entries of an account it has made by now. What it has said stays, also when it is gone. */
  heard(member: string, account: string, count: number): void {
    const counts = this.#of(account);
    if ((counts.get(member) ?? 0) < count) counts.set(member, count);
  }

  /**
   * The record of an act.
   * @param leaseMs lease time: the time of day may come twice, when it is set back
   */
  record({ account, ...facts }: Act, leaseMs: number): OutsideRecord {
    const at = new Date(this.#wallMs()).toISOString();
    const number = String(++this.#number).padStart(NUMBER_LENGTH, "0");
    const by = this.#cluster === undefined ? "" : `-${this.#cluster.memberId}`;
    this.#count(account, this.#cluster?.memberId ?? "");
    const key = `${auditPrefix(account)}${at}-${number}-${Math.floor(leaseMs)}${by}`;
    return { key, value: { at, ...facts } };
  }

  #count(account: string, member: string): void {
    const counts = this.#of(account);
    counts.set(member, (counts.get(member) ?? 0) + 1);
  }

  #of(account: string): Map<string, number> {
    const counts = this.#counts.get(account) ?? new Map<string, number>();
    this.#counts.set(account, counts);
    return counts;
  }
}

/** Which member has made an entry. */
function memberIn(key: string): string {
  return /Z-\d+-\d+-(.+)$/.exec(key)?.[1] ?? "";
}

/** What the keys of an account's entries begin with. Behind it they are in the order of time. */
export function auditPrefix(account: string): string {
  return `${account}/audit/`;
}
