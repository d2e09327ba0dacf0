/** A list of locks that is kept up by events: one request for each page, and none for what happens after. Pure. */
import type { LockInfo, ServiceEvent } from "./api.js";

export interface Holder {
  readonly token: number;
  readonly owner: string;
  /** By the server's time of day. */
  readonly sinceMs: number;
  /** Null: not known, since only an event has told of it. */
  readonly expiresAtMs: number | null;
  readonly isClosed: boolean;
}

export interface Row {
  readonly name: string;
  readonly holder: Holder | null;
  /** All of them. */
  readonly holderCount: number;
  readonly waiting: number;
  readonly mode: string;
}

interface Kept {
  readonly name: string;
  mode: string;
  readonly holders: Map<number, Holder>;
  /** Holders that are not among these. */
  others: number;
  readonly tickets: Set<number>;
  /** Waiters whose tickets are not known. */
  moreWaiting: number;
  row: Row | null;
}

export class LiveLocks {
  readonly #rows = new Map<string, Kept>();
  readonly #prefix: string;
  /** True when all that is there was listed: what is new from now on is told by events. */
  isWhole = false;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** A page of the list, as it was at that time. */
  addPage(locks: readonly LockInfo[], atMs: number): void {
    for (const lock of locks) this.#put(lock, atMs);
  }

  /** In the order in which they came to be. */
  rows(wanted: (row: Row) => boolean = () => true): readonly Row[] {
    const rows: Row[] = [];
    for (const kept of this.#rows.values()) {
      kept.row ??= rowOf(kept);
      if (wanted(kept.row)) rows.push(kept.row);
    }
    return rows;
  }

  apply(events: readonly ServiceEvent[]): void {
    for (const event of events) {
      for (const name of event.names) if (name.startsWith(this.#prefix)) this.#applyTo(name, event);
    }
  }

  #put(lock: LockInfo, atMs: number): void {
    const holders = new Map<number, Holder>();
    // The newest comes first in a list.
    for (const each of [...lock.holders].reverse()) {
      holders.set(each.token, {
        ...{ token: each.token, owner: each.owner, sinceMs: atMs - each.heldForMs },
        ...{ expiresAtMs: atMs + each.expiresInMs, isClosed: each.state === "closed" },
      });
    }
    this.#rows.set(lock.name, {
      ...{ name: lock.name, mode: lock.holders[0]?.mode ?? lock.queue[0]?.mode ?? "exclusive", holders },
      others: lock.holderCount - holders.size,
      tickets: new Set(lock.queue.map(({ ticket }) => ticket)),
      moreWaiting: lock.queueLength - lock.queue.length,
      row: null,
    });
  }

  #applyTo(name: string, { type, token, owner, ticket, at, closedForMs }: ServiceEvent): void {
    let kept = this.#rows.get(name);
    if (kept === undefined) {
      // What was not listed yet is on one of the pages that are to come.
      if (!this.isWhole || (type !== "granted" && type !== "restored" && type !== "queued")) return;
      kept = {
        name,
        mode: "exclusive",
        holders: new Map(),
        others: 0,
        tickets: new Set(),
        moreWaiting: 0,
        row: null,
      };
      this.#rows.set(name, kept);
    }
    kept.row = null;
    switch (type) {
      case "queued":
        if (ticket !== undefined) kept.tickets.add(ticket);
        break;
      case "left":
        leave(kept, ticket);
        break;
      case "granted":
      case "restored":
        if (type === "granted") leave(kept, ticket);
        if (token === undefined || kept.holders.has(token)) break;
        kept.holders.set(token, {
          token,
          owner,
          sinceMs: Date.parse(at),
          expiresAtMs: null,
          isClosed: false,
        });
        break;
      case "released":
      case "expired":
      case "forced":
      case "opened": {
        const holder = token === undefined ? undefined : kept.holders.get(token);
        if (holder === undefined) {
          if (type !== "opened" && kept.others > 0) kept.others--;
        } else if (type !== "opened" && closedForMs !== undefined && closedForMs > 0) {
          kept.holders.set(holder.token, {
            ...holder,
            isClosed: true,
            expiresAtMs: Date.parse(at) + closedForMs,
          });
        } else kept.holders.delete(holder.token);
        break;
      }
      default:
        break;
    }
    const isIdle = kept.holders.size + kept.others + kept.tickets.size + kept.moreWaiting === 0;
    if (isIdle) this.#rows.delete(name);
  }
}

/** A grant at once has no ticket. */
function leave(kept: Kept, ticket: number | undefined): void {
  if (ticket === undefined || kept.tickets.delete(ticket)) return;
  if (kept.moreWaiting > 0) kept.moreWaiting--;
}

function rowOf({ name, mode, holders, others, tickets, moreWaiting }: Kept): Row {
  return {
    ...{ name, mode, holder: [...holders.values()].at(-1) ?? null },
    holderCount: holders.size + others,
    waiting: tickets.size + moreWaiting,
  };
}
