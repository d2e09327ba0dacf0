import type { CeilingRecord, HoldRecord, PreviousRecord } from "../engine/commands.js";
import { wantsOf } from "../engine/modes.js";
import { LOST_HOLDS_MAX } from "../engine/previous.js";
import { CLOCK_KEY, FLOOR_KEY, type FloorRecord, partsIn, partsOf, ServiceKey } from "../loop/index.js";
import { type Change, decodeRecord, type Entry, encodeRecord } from "../store/index.js";

/** What a restore has left out, of all services together. */
export interface LeftOut {
  sessions: number;
  holds: number;
}

/** What the records of a backup say together. */
export interface BackupFacts {
  readonly records: number;
  /** The highest ceiling of tokens and tickets. */
  readonly highest: number;
  /** By how much an earlier restore has raised the line. */
  readonly raisedBy: number;
  /** Lease time. */
  readonly clockMs: number;
}

/** Looks at all records of a backup. @throws DamagedRecordError, NewerFormatError */
export async function factsOf(entries: AsyncIterable<Entry>): Promise<BackupFacts> {
  let [records, highest, raisedBy, clockMs] = [0, 1, 0, 0];
  for await (const entry of entries) {
    records++;
    const value = decodeRecord(entry);
    if (entry.key === CLOCK_KEY) clockMs = (value as { nowMs: number }).nowMs;
    if (entry.key === FLOOR_KEY) raisedBy = (value as FloorRecord).raisedBy;
    const isCeiling = entry.key === FLOOR_KEY || typeIn(entry.key) === "ceiling";
    const { tokens, tickets } = (isCeiling ? value : { tokens: 1, tickets: 1 }) as CeilingRecord;
    if (!Number.isSafeInteger(tokens) || !Number.isSafeInteger(tickets) || !Number.isSafeInteger(raisedBy))
      throw new Error(`The record ${JSON.stringify(entry.key)} has no numbers. Take another backup.`);
    highest = Math.max(highest, tokens, tickets);
  }
  return { records, highest, raisedBy, clockMs };
}

/**
 * What of a backup is taken over by a restore. Sessions are void, and with them what only they could hold or claim: whoever had one has
 * perhaps lost it since, and somebody else got the lock. The next holder of such a lock is told that the last one did not give it back (Q11).
 * Holds with an end of their own stay, unless the operator knows better: to keep a lock closed too long is safe.
 */
export class KeptRecords {
  readonly leftOut: LeftOut = { sessions: 0, holds: 0 };
  readonly #floor: FloorRecord;
  readonly #keepsHolds: boolean;
  #service: ServiceKey | null = null;
  /** The last holds of the service's locks, by name. */
  #previous = new Map<string, PreviousRecord>();

  constructor(floor: FloorRecord, keepsHolds: boolean) {
    this.#floor = floor;
    this.#keepsHolds = keepsHolds;
  }

  /** What comes of the next record, in the order of their keys. */
  *of(entry: Entry): Generator<Change> {
    if (this.#service !== null && !entry.key.startsWith(this.#service.prefix)) yield* this.#endOfService();
    const { account, kind, service } = partsOf(entry.key);
    if (entry.key === FLOOR_KEY) return;
    if (kind !== "service") return void (yield entry);
    this.#service ??= new ServiceKey(account, service!);
    const { type, id } = partsIn(this.#service.prefix, entry.key);
    switch (type) {
      case "session":
        this.leftOut.sessions++;
        return;
      // They belong to sessions, or to a stop whose list of holds is left out.
      case "revoked":
      case "stopped":
        return;
      case "hold":
        return yield* this.#hold(Number(id), entry);
      case "previous": {
        const value = decodeRecord(entry) as PreviousRecord;
        if ((this.#previous.get(id)?.token ?? 0) > value.token) return;
        this.#previous.delete(id);
        return void (yield entry);
      }
      case "ceiling": {
        const { tokens, tickets } = decodeRecord(entry) as CeilingRecord;
        const raised = {
          tokens: Math.max(tokens, this.#floor.tokens),
          tickets: Math.max(tickets, this.#floor.tickets),
        };
        return void (yield { key: entry.key, value: encodeRecord(entry.key, raised) });
      }
      default:
        yield entry;
    }
  }

  /** What is to be written behind the last record. */
  *end(): Generator<Change> {
    if (this.#service !== null) yield* this.#endOfService();
    yield { key: FLOOR_KEY, value: encodeRecord(FLOOR_KEY, this.#floor) };
  }

  *#hold(token: number, entry: Entry): Generator<Change> {
    const hold = decodeRecord(entry) as HoldRecord;
    if (hold.remainder || (hold.session === undefined && this.#keepsHolds)) return void (yield entry);
    this.leftOut.holds++;
    for (const { name } of wantsOf(hold.names)) {
      const known = this.#previous.get(name);
      const isNew = known === undefined ? this.#previous.size < LOST_HOLDS_MAX : known.token < token;
      if (isNew) this.#previous.set(name, { endedBy: "expiry", token, owner: hold.owner });
    }
  }

  *#endOfService(): Generator<Change> {
    for (const [name, previous] of this.#previous) {
      const key = `${this.#service!.prefix}previous/${name}`;
      yield { key, value: encodeRecord(key, previous) };
    }
    this.#service = null;
    this.#previous = new Map();
  }
}

function typeIn(key: string): string {
  const { account, kind, service } = partsOf(key);
  return kind === "service" ? partsIn(new ServiceKey(account, service!).prefix, key).type : kind;
}
