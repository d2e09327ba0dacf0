import type {
  ClaimExtra,
  EndedBy,
  ListQuery,
  LockNames,
  Metadata,
  Previous,
  ServerMessage,
  ServiceEvent,
  ServiceSettings,
} from "lockdb/protocol";
import type { Totals } from "./totals.js";

/**
 * What can happen to a service. `address` is where the sender is reached: one per connection or per HTTP request,
 * never used twice. A command of a session whose address is no longer the session's is ignored (R3).
 * `session: null` is an HTTP caller, which has no session and makes detached holds, or leased ones by a `call`.
 */
export type Command =
  | {
      readonly kind: "hello";
      readonly address: string;
      readonly session: string;
      readonly client: string;
      readonly connection: number;
      readonly resume: boolean;
      readonly leaseMs: number;
      readonly owner: string;
      /** It may look, and hold nothing. */
      readonly reads?: true;
    }
  | ({
      readonly kind: "claim";
      readonly token: number;
      readonly names: LockNames;
      readonly extra: ClaimExtra;
    } & Of)
  | ({ readonly kind: "sync" } & Of)
  | ({ readonly kind: "disconnect" } & Of)
  /** Answers to these requests, and notices that these tokens were lost, have arrived. */
  | ({
      readonly kind: "acknowledge";
      readonly ids: readonly number[];
      readonly lostTokens: readonly number[];
    } & Of)
  | AcquireCommand
  | ({
      readonly kind: "cancel";
      readonly id: number;
      /** Of its grant, if that was heard of; else null. */
      readonly token: number | null;
    } & From)
  | ({
      readonly kind: "release";
      readonly id: number;
      readonly token: number;
      readonly name: string | null;
    } & From)
  /** A hold that its holder could not trust any more: it ends as by expiry, and the next holder is told (Q11). */
  | ({ readonly kind: "abandon"; readonly id: number; readonly token: number } & From)
  | ({
      readonly kind: "force";
      readonly id: number;
      readonly name: string;
      readonly token: number;
      readonly reason: string;
      /** Who did it, for the audit log. */
      readonly who: string;
    } & From)
  /** Changes the service's settings, or only asks for them. */
  | ({
      readonly kind: "settings";
      readonly id: number;
      readonly change: ServiceSettings | null;
      readonly who: string;
    } & From)
  | NamedCommand
  | ({
      readonly kind: "inspect";
      readonly id: number;
      readonly name: string;
      /** Of the holder to be shown first, however many there are. */
      readonly token?: number | undefined;
    } & From)
  /** Asks a holder to give a hold back. It stays his. */
  | ({
      readonly kind: "ask";
      readonly id: number;
      readonly name: string;
      readonly token: number;
      readonly reason: string;
    } & From)
  /** Sessions behind the one with this number. */
  | ({
      readonly kind: "sessions";
      readonly id: number;
      readonly after: number;
      readonly limit: number;
    } & From)
  | ({ readonly kind: "list"; readonly id: number; readonly query: ListQuery } & From)
  | ({ readonly kind: "heartbeat"; readonly id: number } & Of)
  | ({ readonly kind: "bye"; readonly id: number } & Of)
  /** The answer to an HTTP caller has been handed over: it can no longer be taken back (Q7). */
  | { readonly kind: "delivered"; readonly address: string }
  // The HTTP API.
  | CallCommand
  /** The end of a slice: nobody listens at this address any more. Hung up: nobody has, to what was told there last (Q7). */
  | { readonly kind: "leave"; readonly address: string; readonly hungUp: boolean }
  | ({
      readonly kind: "renew";
      readonly id: number;
      readonly token: number;
      /** Null: as long as it was before. */
      readonly leaseMs: number | null;
    } & From)
  | ({
      readonly kind: "giveBack";
      readonly id: number;
      readonly token: number;
      /** The HTTP session that holds it, or null. */
      readonly of: string | null;
      readonly request: string | null;
    } & From)
  | ({
      readonly kind: "openSession";
      readonly id: number;
      readonly leaseMs: number;
      readonly owner: string;
    } & Of)
  | ({ readonly kind: "keepSession"; readonly id: number } & Of)
  | ({ readonly kind: "endSession"; readonly id: number } & Of)
  | { readonly kind: "tick" };

export interface AcquireCommand extends From {
  readonly kind: "acquire";
  readonly id: number;
  readonly names: LockNames;
  /** Infinity: until cancelled. */
  readonly waitMs: number;
  /** Null for a session hold. */
  readonly detachedMs: number | null;
  readonly minHoldMs: number;
  readonly maxHoldMs: number | null;
  readonly metadata: Metadata;
  readonly ticket: number | null;
  /** Tokens of the holds that it is made inside of (D1). */
  readonly within: readonly number[];
  readonly reentrant: boolean;
  readonly leads: boolean;
  /** Who takes it by force from all who hold it, for the audit log; null for a request that waits its turn. */
  readonly stolenBy: string | null;
  /** Label of an HTTP caller; a session has its own. */
  readonly owner: string | null;
  /** Where the end of the hold is to be told (C5). For a detached hold only; the engine never looks into it. */
  readonly webhookUrl?: string | undefined;
  /** Too many deliveries are pending for a hold that would add to them (N3). */
  readonly outboxIsFull?: boolean | undefined;
  /** Its account may have no new lock (A4). One that it has, or waits for, is no new one. */
  readonly trialIsOver?: boolean;
}

/** A request for locks over the HTTP API, or the same once more. `detachedMs` is the lease of a leased hold. */
export interface CallCommand extends Omit<AcquireCommand, "kind"> {
  readonly kind: "call";
  readonly request: string;
  /** The HTTP session that asks, or null. */
  readonly of: string | null;
}

/** `check` and `unlock`: answered at once, but for a recovering service that does not know the holder (R4). */
export interface NamedCommand extends From {
  readonly kind: "check" | "unlock";
  readonly id: number;
  readonly name: string;
  readonly waitMs: number;
}

interface Of {
  readonly session: string;
  readonly address: string;
}

interface From {
  readonly session: string | null;
  readonly address: string;
}

/** What comes of commands: changes to make durable, and answers that may leave once the changes are (R1). */
export interface Effects {
  readonly answers: Answer[];
  readonly changes: DurableChange[];
  /** What happened, for those who watch; absent when nobody does. */
  readonly events?: EngineEvent[] | undefined;
}

/** The loop adds the time of day. */
export type EngineEvent = Omit<ServiceEvent, "at">;

export interface Answer {
  readonly to: string;
  readonly message: ServerMessage;
}

/** A record put, or deleted when its value is null. Times in records are on the lease clock (R6). `isNew`: there is none under this id. */
export type DurableChange =
  | { readonly type: "session"; readonly id: string; readonly value: SessionRecord | null }
  | {
      readonly type: "hold";
      readonly id: string;
      readonly value: HoldRecord | null;
      readonly isNew?: boolean;
    }
  | {
      readonly type: "answer";
      readonly id: string;
      readonly value: AnswerRecord | null;
      readonly isNew?: boolean;
    }
  | { readonly type: "previous"; readonly id: string; readonly value: PreviousRecord | null }
  | { readonly type: "revoked"; readonly id: string; readonly value: RevokedRecord | null }
  | { readonly type: "settings"; readonly id: ""; readonly value: ServiceSettings }
  | { readonly type: "audit"; readonly id: ""; readonly value: AuditFacts }
  /** The end of a hold is to be told, once a name (C5). The id is never used twice (F1). */
  | { readonly type: "delivery"; readonly id: string; readonly value: DeliveryFacts }
  | { readonly type: "ceiling"; readonly id: ""; readonly value: CeilingRecord }
  | { readonly type: "stopped"; readonly id: ""; readonly value: StoppedRecord | null };

export interface SessionRecord {
  readonly client: string;
  readonly leaseMs: number;
  readonly owner: string;
  /** Set when all its holds are in the store, as with `--durability strict`: a crash leaves nothing to ask it. */
  readonly holdsKnown?: true;
  /** Set for one that only looks: it never holds. */
  readonly reads?: true;
  /** Set for one without a connection, which is kept by heartbeats over HTTP. */
  readonly http?: true;
  /** Set from a start until the session returns: what it has left (R6). */
  readonly awaitedUntilMs?: number;
}

export interface HoldRecord {
  readonly names: LockNames;
  readonly owner: string;
  readonly grantedAtMs: number;
  /** Null for a session's hold, which ends with its session. Of a leased hold the latest end that it may have. */
  readonly expiresAtMs: number | null;
  /** Set for a leased hold: how long it lasts from a renewal on. */
  readonly leaseMs?: number;
  readonly metadata: Metadata;
  readonly leads?: true;
  /** Who asked, as `client/id`: the same request gets the same token, after a crash too (Q6). */
  readonly request: string | null;
  /** True for what remains of a hold that is over: its lock stays closed, and nobody may unlock it (L7, L8). */
  readonly remainder: boolean;
  /** How a remainder's hold ended, when it was not by its holder's wish (Q11). */
  readonly endedBy?: EndedBy;
  /** Kept at least until then, whoever lets it go (L7). */
  readonly minUntilMs?: number;
  readonly maxUntilMs?: number;
  /** Where its end is to be told (C5). */
  readonly webhookUrl?: string;
  /** The session that holds it: written by a clean stop (R5), and with `--durability strict`. */
  readonly session?: string;
}

/** The last hold of a lock, which ended by expiry or force. The id is the lock's name. */
export type PreviousRecord = Previous;

/** A session hold that was freed by force: its session has not acknowledged that yet (R3). */
export interface RevokedRecord {
  readonly token: number;
  readonly session: string;
}

/** An administrative act. The loop adds the time of day. */
export interface AuditFacts {
  readonly who: string;
  readonly what: string;
  readonly details: Readonly<Record<string, string | number>>;
}

/** What a request was about, an id used again for something else is refused: a text, or the token of a hold to be ended. */
export type About = string | number;

/** What is told of a hold's end, and to whom. The loop adds the service, an id and the time of day. */
export interface DeliveryFacts {
  readonly url: string;
  readonly lockName: string;
  readonly token: number;
  readonly endedBy: "release" | EndedBy;
}

export interface AnswerRecord {
  readonly message: ServerMessage;
  readonly about: About;
  readonly untilMs: number;
}

/** Tokens and tickets below these may have been given out (F2). */
export interface CeilingRecord {
  readonly tokens: number;
  readonly tickets: number;
}

/** Left by a clean stop: the session holds are among the records, and nobody need be waited for (R5). */
export interface StoppedRecord {
  readonly clean: true;
}

export interface EngineOptions {
  readonly waitersMax: number;
  readonly holdsMax: number;
  readonly sessionsMax: number;
  /** True when the account of this service has in all its services together as much as it may (N3). Absent: it has no such limit. */
  readonly isFull?: (what: "holds" | "sessions" | "waiters") => boolean;
  /** What happens is counted there. Absent: in one of its own. */
  readonly totals?: Totals;
  /** Locks whose lost hold is remembered (Q11), if that are to be less than usual (N3). */
  readonly lostMax?: () => number;
  /** A start makes fewer holds than these at once, and packs none. Absent: 1,000. */
  readonly packedMin?: number;
  /** True to write session holds down too: a crash then leaves nobody to wait for. */
  readonly writesSessionHolds: boolean;
}
