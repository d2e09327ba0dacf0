/**
 * The native protocol, `lockdb.v1` (I2). A frame is a JSON array: a client's frame begins with the number of messages
 * it has received on this connection so far, then come its messages; a server's frame is messages only. A message is
 * an array that begins with its kind. `docs/protocol.md` tells how they play together.
 */
import type { ErrorCode } from "./errors.js";

/** A client's own data about a hold, shown to whoever inspects the lock; at most 1 KiB as JSON. */
export type Metadata = Readonly<Record<string, string | number | boolean>>;

/** First message of a connection: which session this is. The answer is `welcome`, or `ended`. */
export interface Hello {
  readonly service: string;
  /** Random id of the client instance, the same for all its sessions: the scope of its request ids. */
  readonly client: string;
  /** Random id of the session, made by the client, so that opening it twice is opening it once. */
  readonly session: string;
  /** Rises with every connection of a session; an older one is refused (R3). */
  readonly connection: number;
  /** True once the session was welcomed: it must not be opened anew if the server no longer has it. */
  readonly resume: boolean;
  readonly leaseMs: number;
  readonly owner: string;
}

/** What an `acquire` may say beyond name and wait. */
export interface AcquireExtra {
  /** Makes a detached hold that lasts this long (L9). Absent: a session hold. */
  readonly detachedMs?: number;
  readonly minHoldMs?: number;
  readonly maxHoldMs?: number;
  readonly metadata?: Metadata;
  /** The ticket this request had before the connection was lost. Only a recovering server looks at it (R4). */
  readonly ticket?: number;
}

/** What a client says of a hold it has, when it resumes (R3). */
export interface ClaimExtra {
  readonly heldMs?: number;
  readonly minHoldMs?: number;
  readonly maxHoldMs?: number;
  readonly metadata?: Metadata;
  /** It is not trusted any more: after a crash, too, it has ended as by expiry, and not by its holder's wish (Q11, L8). */
  readonly lost?: true;
}

export type ClientMessage =
  | readonly ["hello", Hello]
  | readonly ["hold", token: number, name: string, extra?: ClaimExtra]
  | readonly ["sync"]
  | readonly ["acquire", id: number, name: string, waitMs: number | null, extra?: AcquireExtra]
  | readonly ["cancel", id: number, token?: number]
  | readonly ["release", id: number, token: number, name?: string]
  | readonly ["abandon", id: number, token: number]
  | readonly ["force", id: number, name: string, token: number, reason: string]
  | readonly ["unlock", id: number, name: string]
  | readonly ["check", id: number, name: string, waitMs: number | null]
  | readonly ["inspect", id: number, name: string]
  | readonly ["heartbeat", id: number]
  | readonly ["bye", id: number];

/** How a hold ended without its holder's wish. */
export type EndedBy = "expiry" | "force";

/** The hold before this one, told when it ended by expiry or force (Q11). */
export interface Previous {
  readonly endedBy: EndedBy;
  readonly token: number;
  readonly owner: string;
}

/** What a `granted` may say beyond its token. */
export interface GrantExtra {
  /** The place in the service's order of arrival; absent for a request that never waited. */
  readonly ticket?: number;
  readonly previous?: Previous;
}

export interface HolderInfo {
  readonly token: number;
  readonly owner: string;
  /** `closed`: the hold is over, and its lock stays closed for the rest of a minimum hold (L7) or a lock delay (L8). */
  readonly state: "held" | "closed";
  readonly mode: "exclusive";
  /** True for a hold that outlives its maker's session (L9). */
  readonly detached: boolean;
  readonly heldForMs: number;
  /** Until it ends if nothing renews it; a session's lease for a session hold. */
  readonly expiresInMs: number;
  readonly metadata: Metadata;
}

export interface WaiterInfo {
  readonly ticket: number;
  readonly owner: string;
  readonly waitingForMs: number;
  /** True while its connection is down: it keeps its ticket, and is passed over (Q7). */
  readonly away: boolean;
}

/** The answer of `inspect` (Q9). `queue` has the first hundred waiters, `queueLength` counts all. */
export interface LockInfo {
  readonly name: string;
  readonly held: boolean;
  readonly holders: readonly HolderInfo[];
  readonly queue: readonly WaiterInfo[];
  readonly queueLength: number;
  /** The last hold that ended by expiry or force, until a later one was released (Q11). */
  readonly previous?: Previous;
  /** True while the server waits for its clients after a crash: a holder may be unknown yet (R4). */
  readonly recovering: boolean;
}

/** What an operator may set for a service. */
export interface ServiceSettings {
  /** How long a lock stays closed after a hold that ended by expiry (L8). */
  readonly lockDelayMs: number;
}

export type RefusalDetails = Readonly<Record<string, unknown>>;

export type ServerMessage =
  | readonly ["welcome", { readonly session: string; readonly leaseMs: number; readonly resumed: boolean }]
  | readonly ["queued", id: number, ticket: number, ahead: number]
  | readonly ["granted", id: number, token: number, extra?: GrantExtra]
  | readonly ["done", id: number, value: boolean | null | LockInfo | ServiceSettings]
  | readonly ["refused", id: number, code: ErrorCode, message: string, details?: RefusalDetails]
  | readonly ["lost", token: number, endedBy: EndedBy]
  | readonly ["ended", code: ErrorCode, message: string]
  | readonly ["error", code: ErrorCode, message: string];
