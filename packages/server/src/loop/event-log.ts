import type { ServiceEvent, WatchQuery, WatchStart } from "lockdb/protocol";
import type { EngineEvent } from "../engine/index.js";
import type { Recipient } from "./recipient.js";

/** How much of the past is kept, for those who come back after a while. */
const EVENTS_MAX = 10_000;
const KEPT_MS = 600_000;
/** About how many bytes of it, of one service and of all. */
const BYTES_MAX = 16 * 1_024 * 1_024;
const ALL_BYTES_MAX = 4 * BYTES_MAX;
/** Watches of a service: each event is compared with all of them. */
const WATCHES_MAX = 1_000;

/** Who is told of events whose locks' names begin with a prefix. */
interface Watch {
  readonly id: number;
  readonly prefix: string;
  readonly to: Recipient;
  /** Number of the last event that it was told, or had to be told. */
  last: number;
}

/** A piece of the past. */
export interface Past {
  readonly events: readonly { readonly position: string; readonly event: ServiceEvent }[];
  /** Of the last event that was looked at: where to go on. */
  readonly position: string;
  /** Of the newest event. */
  readonly head: string;
  /** True when events since the position that was asked for are not kept any more. */
  readonly missed: boolean;
  /** True when there is more already. */
  readonly more: boolean;
}

interface Kept {
  readonly number: number;
  readonly atMs: number;
  readonly bytes: number;
  readonly event: ServiceEvent;
}

/** How many bytes all logs of a server keep. */
export interface EventBudget {
  bytes: number;
}

/**
 * What happened in a service, in order and numbered, from the first time that somebody watched it. Goes on for ten minutes
 * after the last one has left: whoever reconnects misses nothing.
 */
export class EventLog {
  /** A log that begins anew must not be taken for the one before it. */
  readonly #name: string;
  readonly #all: EventBudget;
  readonly #watches = new Map<Recipient, Map<number, Watch>>();
  /** By number, in a ring. */
  readonly #kept: (Kept | undefined)[] = [];
  #watchCount = 0;
  #bytes = 0;
  /** Of the newest event. */
  #number = 0;
  /** Of the oldest that is kept, or would be. */
  #oldest = 1;
  #watchedAtMs = 0;

  constructor(name: string, all: EventBudget) {
    this.#name = name;
    this.#all = all;
  }

  get isFull(): boolean {
    return this.#watchCount >= WATCHES_MAX;
  }

  /** False when nobody has watched for so long that nothing need be kept. */
  isWanted(nowMs: number): boolean {
    return this.#watchCount > 0 || nowMs - this.#watchedAtMs < KEPT_MS;
  }

  /** Adds a watch, and tells `then` first where it begins. What has happened since `after` is told at once. */
  watch(
    to: Recipient,
    id: number,
    query: WatchQuery,
    then: (start: WatchStart) => void,
    nowMs: number,
  ): void {
    const { prefix = "", after } = query;
    const since = after === undefined ? this.#number : this.#numberOf(after, nowMs);
    const watch: Watch = { id, prefix, to, last: since ?? this.#number };
    const ofRecipient = this.#watches.get(to) ?? new Map<number, Watch>();
    if (!ofRecipient.has(id)) this.#watchCount++;
    this.#watches.set(to, ofRecipient.set(id, watch));
    then({ position: this.#position(watch.last), missed: since === null });
    for (let next = watch.last + 1; next <= this.#number; next++) this.#tell(watch, this.#at(next)!);
  }

  /**
   * What has happened since a position, or all that is kept; at most so many events. It goes on being kept for ten minutes,
   * as if somebody had watched.
   */
  past({ prefix = "", after }: WatchQuery, limit: number, nowMs: number): Past {
    this.#watchedAtMs = nowMs;
    const since = after === undefined ? this.#oldest - 1 : this.#numberOf(after, nowMs);
    const events: Past["events"][number][] = [];
    let last = since ?? this.#oldest - 1;
    while (last < this.#number && events.length < limit) {
      last++;
      const { event, atMs } = this.#at(last)!;
      const isWanted = event.names.some((each) => each.startsWith(prefix)) && nowMs - atMs < KEPT_MS;
      if (isWanted) events.push({ position: this.#position(last), event });
    }
    const [position, head] = [this.#position(last), this.#position(this.#number)];
    return { events, position, head, missed: since === null, more: last < this.#number };
  }

  unwatch(to: Recipient, id: number, nowMs: number): void {
    const ofRecipient = this.#watches.get(to);
    if (ofRecipient?.delete(id) !== true) return;
    this.#watchCount--;
    this.#watchedAtMs = nowMs;
    if (ofRecipient.size === 0) this.#watches.delete(to);
  }

  /** Its connection is gone. */
  leave(to: Recipient, nowMs: number): void {
    for (const id of [...(this.#watches.get(to)?.keys() ?? [])]) this.unwatch(to, id, nowMs);
  }

  /** @returns those who were told something, perhaps */
  add(events: readonly EngineEvent[], at: string, nowMs: number): Iterable<Recipient> {
    for (const event of events) {
      const kept: Kept = {
        number: ++this.#number,
        atMs: nowMs,
        bytes: bytesOf(event),
        event: { ...event, at },
      };
      this.#kept[kept.number % EVENTS_MAX] = kept;
      this.#count(kept.bytes);
      while (this.#isTooMuch) this.#forgetOldest();
      for (const ofRecipient of this.#watches.values()) {
        for (const watch of ofRecipient.values()) this.#tell(watch, kept);
      }
    }
    return this.#watches.keys();
  }

  /** Nothing is kept any more. */
  clear(): void {
    while (this.#oldest <= this.#number) this.#forgetOldest();
  }

  get #isTooMuch(): boolean {
    if (this.#oldest >= this.#number) return false;
    const isMany = this.#number - this.#oldest >= EVENTS_MAX;
    return isMany || this.#bytes > BYTES_MAX || this.#all.bytes > ALL_BYTES_MAX;
  }

  #forgetOldest(): void {
    const kept = this.#at(this.#oldest);
    if (kept !== undefined) {
      this.#count(-kept.bytes);
      this.#kept[this.#oldest % EVENTS_MAX] = undefined;
    }
    this.#oldest++;
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#all.bytes += bytes;
  }

  #at(number: number): Kept | undefined {
    const kept = this.#kept[number % EVENTS_MAX];
    return kept?.number === number ? kept : undefined;
  }

  /** The number that a position stands for, if all that came after it is still kept. */
  #numberOf(position: string, nowMs: number): number | null {
    const [name, text] = position.split(".");
    const number = Number(text);
    if (name !== this.#name || number > this.#number) return null;
    if (number === this.#number) return number;
    const next = this.#at(number + 1);
    return next !== undefined && nowMs - next.atMs < KEPT_MS ? number : null;
  }

  #tell(watch: Watch, { number, event }: Kept): void {
    if (!event.names.some((each) => each.startsWith(watch.prefix))) return;
    const previous = this.#position(watch.last);
    watch.last = number;
    watch.to.receive(["event", watch.id, this.#position(number), previous, event]);
  }

  #position(number: number): string {
    return `${this.#name}.${number}`;
  }
}

/** About how much an event takes. */
function bytesOf({ names, owner, reason = "", cycle = [], round = [] }: EngineEvent): number {
  let length = owner.length + reason.length + 200;
  for (const name of names) length += name.length;
  for (const step of cycle) length += step.length;
  for (const { wants, of, holds, owner: who } of round) {
    length += wants.length + of.length + who.length + 100;
    for (const name of holds) length += name.length;
  }
  return 2 * length;
}
