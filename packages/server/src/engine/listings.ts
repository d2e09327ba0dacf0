import { type ListQuery, type LockInfo, type LockPage, utf8Bytes } from "lockdb/protocol";
import type { Deadlines, Timed } from "./deadlines.js";
import { lockInfo } from "./inspect.js";
import type { Lock, Walk } from "./lock.js";
import type { Locks } from "./locks.js";
import type { PreviousHolds } from "./previous.js";
import type { Ending } from "./state.js";

/** Lists that are not at their end, over all clients of a service (N3). */
const LISTINGS_MAX = 100;
/** The same, of one session or caller. */
const OWN_MAX = 10;
/** How long a list waits to be asked for its next page. */
const KEPT_MS = 60_000;
const LIMIT_DEFAULT = 100;
/** Locks that one step looks at, whether they are listed or not: others are waiting. */
const LOOKED_AT_MAX = 2_000;
/** About how much one page is. */
const PAGE_BYTES = 256 * 1_024;
/** Holders and waiters that a list shows of each lock; `inspect` shows more. */
const SHOWN_MAX = 10;

/** Where a list of locks has come to. */
export class Listing implements Timed, Walk {
  readonly kind = "listing";
  readonly id: number;
  readonly prefix: string;
  readonly owner: string;
  /** How many pages were made, and the last of them: asked for again, it is the same (Q6). */
  pages = 0;
  last: LockPage | null = null;
  dueMs = 0;
  heapIndex = -1;
  /** The first lock of the next page; null at the end. */
  #at: Lock | null = null;

  constructor(id: number, prefix: string, owner: string) {
    this.id = id;
    this.prefix = prefix;
    this.owner = owner;
  }

  get at(): Lock | null {
    return this.#at;
  }

  moveTo(lock: Lock | null): void {
    this.#at?.listings?.delete(this);
    this.#at = lock;
    if (lock === null) return;
    lock.listings ??= new Set();
    lock.listings.add(this);
  }
}

/**
 * Lists of locks, page by page, the oldest lock first: each page is one step, and costs no more than a page, however many
 * locks there are. Whatever is there from a list's beginning to its end is listed once.
 */
export class Listings {
  readonly #locks: Locks;
  readonly #previous: PreviousHolds;
  readonly #deadlines: Deadlines<Ending>;
  readonly #byId = new Map<number, Listing>();
  #idNext = 1;

  constructor(locks: Locks, previous: PreviousHolds, deadlines: Deadlines<Ending>) {
    this.#locks = locks;
    this.#previous = previous;
    this.#deadlines = deadlines;
  }

  /** @returns why there is no page: the list is over, or nobody has asked for a minute; or there are too many lists */
  page(
    query: ListQuery,
    owner: string,
    recovering: boolean,
    nowMs: number,
  ): LockPage | "NOT_FOUND" | "RATE_LIMITED" {
    const { prefix = "", limit = LIMIT_DEFAULT, next } = query;
    if (next === undefined) {
      const open = [...this.#byId.values()].filter((each) => each.owner === owner && each.at !== null);
      if (open.length >= OWN_MAX) this.#giveUp(open[0]!);
      if (this.#byId.size >= LISTINGS_MAX && !this.#forgetFinished()) return "RATE_LIMITED";
      const listing = new Listing(this.#idNext++, prefix, owner);
      listing.moveTo(this.#locks.oldest);
      this.#byId.set(listing.id, listing);
      return this.#nextPage(listing, limit, recovering, nowMs);
    }
    const [id, pages] = next.split(".").map(Number);
    const listing = this.#byId.get(id!);
    if (listing !== undefined && listing.pages === pages! + 1) return listing.last!;
    if (listing === undefined || listing.pages !== pages) return "NOT_FOUND";
    return this.#nextPage(listing, limit, recovering, nowMs);
  }

  /** Nobody has asked for its next page. */
  forget(listing: Listing): void {
    listing.moveTo(null);
    this.#byId.delete(listing.id);
  }

  /** Makes room by the oldest that is at its end, if there is one. */
  #forgetFinished(): boolean {
    const finished = [...this.#byId.values()].find(({ at }) => at === null);
    if (finished !== undefined) this.#giveUp(finished);
    return finished !== undefined;
  }

  #giveUp(listing: Listing): void {
    this.#deadlines.delete(listing);
    this.forget(listing);
  }

  #nextPage(listing: Listing, limit: number, recovering: boolean, nowMs: number): LockPage {
    const locks: LockInfo[] = [];
    let bytes = 0;
    let lock = listing.at;
    for (let seen = 0; lock !== null && seen < LOOKED_AT_MAX; seen++, lock = lock.newer) {
      if (!lock.name.startsWith(listing.prefix)) continue;
      if (locks.length >= limit || bytes >= PAGE_BYTES) break;
      const info = lockInfo(lock.name, lock, this.#previous.of(lock.name), recovering, nowMs, {
        max: SHOWN_MAX,
      });
      bytes += utf8Bytes(JSON.stringify(info));
      locks.push(info);
    }
    listing.moveTo(lock);
    listing.pages++;
    const next = lock === null ? null : `${listing.id}.${listing.pages}`;
    listing.last = { locks, next };
    // Also a finished one: its last page may be asked for again.
    this.#deadlines.set(listing, nowMs + KEPT_MS);
    return listing.last;
  }
}
