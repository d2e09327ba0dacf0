import type { Delivery } from "./delivery.js";

/** How many deliveries that are over are kept to be looked at, of an account: delivered ones, and as many given up. */
export const OVER_KEPT_MAX = 1_000;

/** How many a page looks at: what is asked for may be rare. */
const LOOKED_AT_MAX = 10_000;

export type Status = "pending" | "delivered" | "failed";

export interface PageQuery {
  /** Absent: all. */
  readonly status?: Status | undefined;
  readonly limit: number;
  /** Where the page before has ended. */
  readonly before?: string | undefined;
}

/** All deliveries of an account that are kept, by when they came to be. */
export class DeliveryLog {
  readonly #byId = new Map<string, Delivery>();
  #newest: Delivery | null = null;
  #oldest: Delivery | null = null;
  /** In the order in which they came to their end. */
  readonly #delivered = new Set<Delivery>();
  readonly #failed = new Set<Delivery>();

  get pendingCount(): number {
    return this.#byId.size - this.#delivered.size - this.#failed.size;
  }

  /** The oldest first. */
  pending(): readonly Delivery[] {
    return [...this.#byId.values()].filter(({ isPending }) => isPending);
  }

  get(id: string): Delivery | undefined {
    return this.#byId.get(id);
  }

  all(): readonly Delivery[] {
    return [...this.#byId.values()];
  }

  /** One that has just come to be. */
  add(delivery: Delivery): void {
    this.#putBehind(this.#newest, delivery);
  }

  /** Puts some that were made before, the oldest first, where they belong. */
  addAll(deliveries: readonly Delivery[]): void {
    let at = this.#newest;
    for (const delivery of [...deliveries].reverse()) {
      while (at !== null && at.record.createdAt > delivery.record.createdAt) at = at.older;
      this.#putBehind(at, delivery);
    }
  }

  /** It has come to its end. @returns those that are kept no more */
  over(delivery: Delivery): readonly Delivery[] {
    const same = delivery.record.status === "delivered" ? this.#delivered : this.#failed;
    same.add(delivery);
    const forgotten: Delivery[] = [];
    for (const each of same) {
      if (same.size <= OVER_KEPT_MAX) break;
      this.forget(each);
      forgotten.push(each);
    }
    return forgotten;
  }

  /** It is pending again. */
  reopened(delivery: Delivery): void {
    this.#delivered.delete(delivery);
    this.#failed.delete(delivery);
  }

  /** The newest first. `next` is where the next page begins, or null at the end; a page may have fewer, even none. */
  page({ status, limit, before }: PageQuery): {
    readonly found: readonly Delivery[];
    readonly next: string | null;
  } {
    const found: Delivery[] = [];
    let at = before === undefined ? this.#newest : this.#behind(before);
    let last: Delivery | null = null;
    for (let count = 0; at !== null && found.length < limit && count < LOOKED_AT_MAX; count++) {
      if (status === undefined || (at.record.status ?? "pending") === status) found.push(at);
      last = at;
      at = at.older;
    }
    return {
      found,
      next: at === null || last === null ? null : `${last.record.createdAt}.${last.record.id}`,
    };
  }

  /** The one behind the place where a page has ended; of one that is kept no more, the first that is older. */
  #behind(place: string): Delivery | null {
    const [, createdAt = "", id = ""] = /^(.*)\.([^.]*)$/.exec(place) ?? [];
    const known = this.#byId.get(id);
    if (known !== undefined) return known.older;
    let at = this.#newest;
    while (at !== null && at.record.createdAt >= createdAt) at = at.older;
    return at;
  }

  /** Puts one where it is the next newer than another; null: where it is the oldest. */
  #putBehind(older: Delivery | null, delivery: Delivery): void {
    this.#byId.set(delivery.record.id, delivery);
    const newer = older === null ? this.#oldest : older.newer;
    delivery.older = older;
    delivery.newer = newer;
    if (older === null) this.#oldest = delivery;
    else older.newer = delivery;
    if (newer === null) this.#newest = delivery;
    else newer.older = delivery;
  }

  /** It is not kept any more. */
  forget(delivery: Delivery): void {
    this.#byId.delete(delivery.record.id);
    this.reopened(delivery);
    const { older, newer } = delivery;
    if (older === null) this.#oldest = newer;
    else older.newer = newer;
    if (newer === null) this.#newest = older;
    else newer.older = older;
  }
}
