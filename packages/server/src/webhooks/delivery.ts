import type { Timed } from "../engine/index.js";
import type { OwedDelivery } from "../loop/index.js";
import type { Outcome } from "./post.js";

/** A delivery as it is written down: first by the batch that ends the hold, then after each attempt. */
export interface DeliveryRecord extends OwedDelivery {
  /** Absent: pending. */
  readonly status?: "delivered" | "failed";
  readonly attempts?: number;
  /** How long it has been tried, in up time of the server, when this was written. */
  readonly ageMs?: number;
  /** How long it was to wait for the next attempt then. */
  readonly waitMs?: number;
  /** Of the last attempt. Times of day are for people. */
  readonly attemptedAt?: string;
  readonly answered?: number;
  readonly error?: string;
}

/** One POST that is owed, or was sent. */
export class Delivery implements Timed {
  readonly key: string;
  readonly account: string;
  readonly origin: string;
  record: DeliveryRecord;
  dueMs = 0;
  heapIndex = -1;
  isInFlight = false;
  /** It is another member's now: nothing is written of it here any more, not even of an attempt that is on its way. */
  isElsewhere = false;
  /** In its account's log. */
  older: Delivery | null = null;
  newer: Delivery | null = null;
  /** When `record.ageMs` was true, by the monotonic clock. */
  #agedAtMs: number;

  constructor(key: string, record: DeliveryRecord, nowMs: number) {
    this.key = key;
    this.account = key.slice(0, key.indexOf("/"));
    this.origin = new URL(record.url).origin;
    this.record = record;
    this.#agedAtMs = nowMs;
  }

  get isPending(): boolean {
    return this.record.status === undefined;
  }

  ageMs(nowMs: number): number {
    return (this.record.ageMs ?? 0) + nowMs - this.#agedAtMs;
  }

  /** @param waitMs until the next attempt; null when it was the last one */
  attempted({ status, error }: Outcome, waitMs: number | null, nowMs: number, at: string): void {
    const { answered: _before, error: _last, waitMs: _waited, ...rest } = this.record;
    this.#write(
      {
        ...rest,
        ...(error === null ? { status: "delivered" } : waitMs === null ? { status: "failed" } : { waitMs }),
        attempts: (rest.attempts ?? 0) + 1,
        attemptedAt: at,
        ...(status === null ? {} : { answered: status }),
        ...(error === null ? {} : { error }),
      },
      nowMs,
    );
  }

  /** It ends without one more attempt. */
  giveUp(error: string, nowMs: number): void {
    const { waitMs: _waited, ...rest } = this.record;
    this.#write({ ...rest, error, status: "failed" }, nowMs);
  }

  /** It is tried for another day, from now on. */
  again(nowMs: number): void {
    const { status: _over, waitMs: _waited, ...rest } = this.record;
    this.record = { ...rest, ageMs: 0 };
    this.#agedAtMs = nowMs;
  }

  #write(record: DeliveryRecord, nowMs: number): void {
    this.record = { ...record, ageMs: Math.round(this.ageMs(nowMs)) };
    this.#agedAtMs = nowMs;
  }
}
