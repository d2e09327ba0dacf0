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
  /** Which of the packed holds comes next: their locks are listed first. Null: no more of them. */
  packedAt: number | null = 0;
  /** Locks that were listed so, and must not be listed again. */
  readonly unpacked = new Set<Lock>();
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

  get isOver(): boolean {
    return this.packedAt === null && this.#at === null;
  }

  moveTo(lock: Lock | null): void {
    this.packedAt = null;
    this.#at?.listings?.delete(this);
    this.#at = lock;
    if (lock === null) {
      // There may be a million, and the list is kept for a while.
      this.unpacked.clear();
      return;
    }
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
      const open = [...this.#byId.values()].filter((each) => each.owner === owner && !each.isOver);
      if (open.length >= OWN_MAX) this.#giveUp(open[0]!);
      if (this.#byId.size >= LISTINGS_MAX && !this.#forgetFinished()) return "RATE_LIMITED";
      const listing = new Listing(this.#idNext++, prefix, owner);
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
    const finished = [...this.#byId.values()].find(({ isOver }) => isOver);
    if (finished !== undefined) this.#giveUp(finished);
    return finished !== undefined;
  }

  #giveUp(listing: Listing): void {
    this.#deadlines.delete(listing);
    this.forget(listing);
  }

  #nextPage(listing: Listing, limit: number, recovering: boolean, nowMs: number): LockPage {
    const page = new Page(limit, (lock) =>
      lockInfo(lock.name, lock, this.#previous.of(lock.name), recovering, nowMs, { max: SHOWN_MAX }),
    );
    this.#listPacked(listing, page);
    if (listing.packedAt === null) this.#list(listing, page);
    listing.pages++;
    const next = listing.isOver ? null : `${listing.id}.${listing.pages}`;
    listing.last = { locks: page.locks, next };
    // Also a finished one: its last page may be asked for again.
    this.#deadlines.set(listing, nowMs + KEPT_MS);
    return listing.last;
  }

  /** Those that nobody has touched since the start come first, as what was there before it. */
  #listPacked(listing: Listing, page: Page): void {
    if (listing.packedAt === null) return;
    const { packed } = this.#locks;
    let index = listing.packedAt;
    if (packed !== null) index = packed.firstFrom(index);
    for (; packed !== null && index < packed.end && page.looksOn; index = packed.firstFrom(index + 1)) {
      page.seen++;
      if (!packed.hasPrefix(index, listing.prefix)) continue;
      if (page.isFull) break;
      const { lock } = packed.unpack(index);
      listing.unpacked.add(lock);
      page.add(lock);
    }
    listing.packedAt = index;
    // Whoever was unpacked by others is among these.
    if (packed === null || index === packed.end) listing.moveTo(this.#locks.oldest);
  }

  #list(listing: Listing, page: Page): void {
    let lock = listing.at;
    for (; lock !== null && page.looksOn; lock = lock.newer) {
      page.seen++;
      if (!lock.name.startsWith(listing.prefix) || listing.unpacked.has(lock)) continue;
      if (page.isFull) break;
      page.add(lock);
    }
    listing.moveTo(lock);
  }
}

class Page {
  readonly locks: LockInfo[] = [];
  /** How many were looked at. */
  seen = 0;
  readonly #limit: number;
  readonly #infoOf: (lock: Lock) => LockInfo;
  #bytes = 0;

  constructor(limit: number, infoOf: (lock: Lock) => LockInfo) {
    this.#limit = limit;
    this.#infoOf = infoOf;
  }

  get looksOn(): boolean {
    return this.seen < LOOKED_AT_MAX;
  }

  get isFull(): boolean {
    return this.locks.length >= this.#limit || this.#bytes >= PAGE_BYTES;
  }

  add(lock: Lock): void {
    const info = this.#infoOf(lock);
    this.#bytes += utf8Bytes(JSON.stringify(info));
    this.locks.push(info);
  }
}
