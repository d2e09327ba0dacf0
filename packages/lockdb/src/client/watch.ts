import type { ServerMessage, WatchQuery, WatchStart } from "../protocol/index.js";
import type { LockDBError } from "./errors.js";
import type { LockEvent } from "./types.js";

/** Events that wait to be read. Beyond it they are dropped, and the reader sees a gap (N3). */
const UNREAD_MAX = 10_000;

const GAP: LockEvent = Object.freeze({ type: "gap" });

type Reader = { resolve(result: IteratorResult<LockEvent>): void; reject(error: unknown): void };

/** Who keeps a watch up. */
export interface WatchHost {
  /** Somebody waits for an event, or does not any more. */
  changed(): void;
  /** The reader has left. */
  ended(): void;
}

/** A watch as its reader sees it: it goes on over reconnects, and says where something may be missing. */
export class Watch implements AsyncIterableIterator<LockEvent> {
  readonly #query: { readonly prefix?: string };
  readonly #host: WatchHost;
  readonly #unread: LockEvent[] = [];
  readonly #readers: Reader[] = [];
  /** The last event that was heard. */
  #position: string | null = null;
  #wasAsked = false;
  #isOver = false;
  #error: LockDBError | null = null;

  constructor(query: { readonly prefix?: string }, host: WatchHost) {
    this.#query = query;
    this.#host = host;
  }

  /** Somebody waits for the next event. */
  get isRead(): boolean {
    return this.#readers.length > 0;
  }

  /** What to ask for on a new connection. */
  get query(): WatchQuery {
    return this.#position === null ? this.#query : { ...this.#query, after: this.#position };
  }

  /** It is asked for on a connection: once more, if that of an earlier one was never answered. */
  asked(): void {
    // What has happened meanwhile nobody knows.
    if (this.#wasAsked && this.#position === null) this.#add(GAP);
    this.#wasAsked = true;
  }

  /** Events were left out, up to this position. */
  leftOut(position: string): void {
    this.#position = position;
    this.#add(GAP);
  }

  started({ position, missed }: WatchStart): void {
    this.#position = position;
    if (missed) this.#add(GAP);
  }

  heard([, , position, previous, event]: Extract<ServerMessage, readonly ["event", ...unknown[]]>): void {
    if (previous !== this.#position) this.#add(GAP);
    this.#position = position;
    this.#add(event);
  }

  /** There will be no more, since the client is closed or the server refuses. */
  end(error: LockDBError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#error = error;
    for (const reader of this.#readers.splice(0)) this.#finish(reader);
    this.#host.changed();
  }

  next(): Promise<IteratorResult<LockEvent>> {
    return new Promise((resolve, reject) => {
      const event = this.#unread.shift();
      if (event !== undefined) return resolve({ done: false, value: event });
      if (this.#isOver) return this.#finish({ resolve, reject });
      this.#readers.push({ resolve, reject });
      this.#host.changed();
    });
  }

  async return(): Promise<IteratorResult<LockEvent>> {
    this.#unread.length = 0;
    this.end(null);
    this.#host.ended();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #add(event: LockEvent): void {
    if (this.#isOver) return;
    const reader = this.#readers.shift();
    if (reader !== undefined) return reader.resolve({ done: false, value: event });
    if (this.#unread.length >= UNREAD_MAX) this.#unread.splice(0, this.#unread.length, GAP);
    this.#unread.push(event);
  }

  #finish({ resolve, reject }: Reader): void {
    const error = this.#error;
    this.#error = null;
    if (error === null) resolve({ done: true, value: undefined });
    else reject(error);
  }
}
