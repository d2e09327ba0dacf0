/**
 * The native protocol, `lockdb.v1` (I2). A frame is a JSON array: a client's frame begins with the number of messages
 * it has received on this connection so far, then come its messages; a server's frame is messages only. A message is
 * an array that begins with its kind. `docs/protocol.md` tells how they play together.
 */
import type { ErrorCode } from "./errors.js";

/**
 * A client's own data about a hold, shown to whoever inspects the lock; at most 1 KiB as JSON.
 *
 * @example
 * await locker.withLock("invoice/42", { metadata: { job: "monthly", try: 2 } }, settle);
 */
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
  /** What the last `moved` came with: since then nobody else has served this service, so nothing that is said here is older than what others know (R3). */
  readonly epoch?: number;
}

/** A lock and how it is wanted: exclusive, shared, or some of a semaphore's permits (1 unless it says). */
export type LockSpec =
  | string
  | readonly [name: string, mode: "shared"]
  | readonly [name: string, permits: number, weight?: number];

/** One exclusive lock, or a set of locks that are granted all at once (Q5). */
export type LockNames = string | readonly LockSpec[];

/** What an `acquire` may say beyond names and wait. */
export interface AcquireExtra {
  /** Makes a detached hold that lasts this long (L9). Absent: a session hold. */
  readonly detachedMs?: number;
  readonly minHoldMs?: number;
  readonly maxHoldMs?: number;
  readonly metadata?: Metadata;
  /** The ticket this request had before the connection was lost. Only a recovering server looks at it (R4). */
  readonly ticket?: number;
  /** Tokens of the holds that this request is made inside of: they cannot end before it is granted (D1). */
  readonly within?: readonly number[];
  /** Grants again what one of those holds has already, as the same hold (D3). */
  readonly reentrant?: true;
  /** It is for a leader, and shown as such (Q9). */
  readonly leads?: true;
  /** Frees the lock by force from all who hold it, and is granted before all who wait. One exclusive lock, no detached hold. */
  readonly steal?: true;
  /** Gets `POST {serviceId, lockName}`, signed, when the hold is over (C5). For a detached hold only. */
  readonly webhookUrl?: string;
}

/** What a client says of a hold it has, when it resumes (R3). */
export interface ClaimExtra {
  readonly heldMs?: number;
  readonly minHoldMs?: number;
  readonly maxHoldMs?: number;
  readonly metadata?: Metadata;
  readonly leads?: true;
  /** It is not trusted any more: after a crash, too, it has ended as by expiry, and not by its holder's wish (Q11, L8). */
  readonly lost?: true;
}

export type ClientMessage =
  | readonly ["hello", Hello]
  | readonly ["hold", token: number, names: LockNames, extra?: ClaimExtra]
  | readonly ["sync"]
  | readonly ["acquire", id: number, names: LockNames, waitMs: number | null, extra?: AcquireExtra]
  | readonly ["cancel", id: number, token?: number]
  | readonly ["release", id: number, token: number, name?: string]
  | readonly ["abandon", id: number, token: number]
  | readonly ["force", id: number, name: string, token: number, reason: string]
  | readonly ["unlock", id: number, name: string]
  | readonly ["check", id: number, name: string, waitMs: number | null]
  | readonly ["inspect", id: number, name: string, token?: number]
  | readonly ["list", id: number, query: ListQuery]
  | readonly ["watch", id: number, query: WatchQuery]
  | readonly ["unwatch", watch: number]
  | readonly ["heartbeat", id: number]
  | readonly ["bye", id: number];

/**
 * How a hold ended without its holder's wish: its time ran out, or somebody took it.
 *
 * @example
 * const [ranOut, taken]: EndedBy[] = ["expiry", "force"];
 */
export type EndedBy = "expiry" | "force";

/**
 * The hold before this one, told when it ended by expiry or force (Q11).
 *
 * @example
 * if (lease.previous !== undefined) console.warn("may be half done:", lease.previous.owner, lease.previous.endedBy);
 */
export interface Previous {
  /** `expiry`: its lease or its time ran out. `force`: an operator freed it, or it was stolen. */
  readonly endedBy: EndedBy;
  /** Of that hold. */
  readonly token: number;
  /** Who had it, as it called itself. */
  readonly owner: string;
}

/** What a `granted` may say beyond its token. */
export interface GrantExtra {
  /** The place in the service's order of arrival; absent for a request that never waited. */
  readonly ticket?: number;
  readonly previous?: Previous;
  /** An enclosing hold has it already: this is the same one, and its release frees nothing (D3). */
  readonly reentrant?: true;
  /** Of such a one: how long the enclosing hold lasts if nothing renews it. */
  readonly expiresInMs?: number;
}

/**
 * How a lock is held or wanted.
 *
 * @example
 * const modes: LockMode[] = ["exclusive", "shared", "semaphore"];
 */
export type LockMode = "exclusive" | "shared" | "semaphore";

/**
 * Who holds a lock, as others see it.
 *
 * @example
 * const { holders } = await locker.inspect("disk");
 * for (const { owner, token, heldForMs } of holders) console.log(owner, token, heldForMs);
 */
export interface HolderInfo {
  /** Of the hold; what `forceRelease` asks for. */
  readonly token: number;
  /** What the client calls itself: host and process id unless it says otherwise. */
  readonly owner: string;
  /** `closed`: the hold is over, and its lock stays closed for the rest of a minimum hold (L7) or a lock delay (L8). */
  readonly state: "held" | "closed";
  /** How it has it. */
  readonly mode: LockMode;
  /** Of a semaphore: how many permits there are. */
  readonly permits?: number;
  /** Of a semaphore: how many of them this hold has. */
  readonly weight?: number;
  /** Of a set: its names, the first sixteen. */
  readonly names?: readonly string[];
  /** Names that requests inside this hold wait for (D1), at most sixteen; absent when there are none. */
  readonly waitsFor?: readonly string[];
  /** True for that of a leader, else absent. */
  readonly leads?: true;
  /** Why an operator has asked its holder to give it back; absent when none has. */
  readonly askedFor?: string;
  /** True for a hold that outlives its maker's session (L9). */
  readonly detached: boolean;
  /** Since the grant. */
  readonly heldForMs: number;
  /** Until it ends if nothing renews it; a session's lease for a session hold. */
  readonly expiresInMs: number;
  /** What its client says of it; empty when it says nothing. */
  readonly metadata: Metadata;
}

/**
 * Who waits for a lock, as others see it.
 *
 * @example
 * const { queue } = await locker.inspect("disk");
 * for (const { owner, ticket, waitingForMs } of queue) console.log(ticket, owner, waitingForMs);
 */
export interface WaiterInfo {
  /** Its place in the order of arrival. */
  readonly ticket: number;
  /** What the client calls itself. */
  readonly owner: string;
  /** Since it asked. */
  readonly waitingForMs: number;
  /** How it wants it. */
  readonly mode: LockMode;
  /** Of a semaphore: how many permits there are. */
  readonly permits?: number;
  /** Of a semaphore: how many of them it wants. */
  readonly weight?: number;
  /** Of a set: its names, the first sixteen. */
  readonly names?: readonly string[];
  /** True while its connection is down: it keeps its ticket, and is passed over (Q7). */
  readonly away: boolean;
}

/**
 * The answer of `inspect` (Q9): the newest hundred holders and the first hundred waiters, and how many there are.
 *
 * @example
 * const { held, holders, queueLength } = await locker.inspect("disk");
 */
export interface LockInfo {
  /** Of the lock. */
  readonly name: string;
  /** Whether anyone holds it, or it is closed for a while. */
  readonly held: boolean;
  /** The newest ones; a lock that is closed after its hold has that one, with the state `closed`. */
  readonly holders: readonly HolderInfo[];
  /** How many there are, shown or not. */
  readonly holderCount: number;
  /** Those who come next, in their order. */
  readonly queue: readonly WaiterInfo[];
  /** How many wait, shown or not. */
  readonly queueLength: number;
  /** The last hold that ended by expiry or force, until a later one was released, else absent (Q11). */
  readonly previous?: Previous;
  /** True while the server waits for its clients after a crash: a holder may be unknown yet (R4). */
  readonly recovering: boolean;
}

/** Which locks to list: those whose names begin with `prefix`, or the rest of a list that was begun. */
export interface ListQuery {
  readonly prefix?: string;
  /** At most so many at once; 1 to 500, default 100. A page may have fewer, and even none, and still not be the last. */
  readonly limit?: number;
  /** From the page before. A list that nobody goes on with for a minute is forgotten (`NOT_FOUND`). */
  readonly next?: string;
}

/** One page of a list, the oldest lock first. Of each lock it shows at most ten holders and ten waiters. */
export interface LockPage {
  readonly locks: readonly LockInfo[];
  /** Where the list goes on; null at its end. */
  readonly next: string | null;
}

/** Which events to tell: those of locks whose names begin with `prefix`. */
export interface WatchQuery {
  readonly prefix?: string;
  /** The position of the last event that was heard, on an earlier connection: what came since is told first. */
  readonly after?: string;
}

/** The answer to `watch`: where it begins. */
export interface WatchStart {
  readonly position: string;
  /** True when events since `after` are not kept any more: what was known of the locks may be wrong. */
  readonly missed: boolean;
}

/**
 * What happened to a lock, a set, or a request for one.
 *
 * @example
 * for await (const event of locker.watch()) {
 *   if (event.type === "expired") console.warn(event.owner, "lost", event.names);
 * }
 */
export interface ServiceEvent {
  /**
   * `queued`: a request waits. `left`: it does not any more, and was not granted. `deadlock`: it was refused as one.
   * `granted`, and `restored` for a hold that a recovering server has learned of from its holder. `released`, `expired`
   * and `forced`: a hold is over. `opened`: a lock is not closed any more after its hold (L7, L8). `asked`: its holder was
   * asked to give it back.
   */
  readonly type:
    | "queued"
    | "left"
    | "deadlock"
    | "granted"
    | "restored"
    | "released"
    | "expired"
    | "forced"
    | "opened"
    | "asked";
  /** Of the lock; of a set all of them. */
  readonly names: readonly string[];
  /** Who holds, held, or wanted it. */
  readonly owner: string;
  /** Of the hold, where there is one. */
  readonly token?: number;
  /** Of the request, where it waited. */
  readonly ticket?: number;
  /** True for a leader's, else absent. */
  readonly leads?: true;
  /** Why it left, was forced, or was asked for, where a reason was said. */
  readonly reason?: string;
  /** How long the lock stays closed yet, after its hold; absent when it does not. */
  readonly closedForMs?: number;
  /** Of a deadlock, else absent: who waits for whom, a line a step. */
  readonly cycle?: readonly string[];
  /** The same, to draw it, and absent with it: each waits for what the next one has, and the last for the first. */
  readonly round?: readonly DeadlockStep[];
  /** Time of day at the server, ISO 8601. For people: clocks may be set back. */
  readonly at: string;
}

/**
 * One step of a deadlock.
 *
 * @example
 * const say = ({ owner, wants, of }: DeadlockStep) => `${owner} wants ${wants}, which ${of} has`;
 */
export interface DeadlockStep {
  /** Who waits. */
  readonly owner: string;
  /** Of the hold that it waits inside of; absent when it has none. */
  readonly token?: number;
  /** Names of that hold, the first three. */
  readonly holds: readonly string[];
  /** The lock that it waits for. */
  readonly wants: string;
  /** Who is in its way there; empty: somebody who waits, too. */
  readonly of: string;
}

/** What an operator may set for a service. */
export interface ServiceSettings {
  /** How long a lock stays closed after a hold that ended by expiry (L8). */
  readonly lockDelayMs: number;
}

export type RefusalDetails = Readonly<Record<string, unknown>>;

/** A hold that was renewed over HTTP. */
export interface Renewed {
  readonly token: number;
  /** From when the server processed the renewal. */
  readonly expiresInMs: number;
  /** Why an operator has asked for it. */
  readonly askedFor?: string;
}

/** What became of asking for a hold. */
export interface Asked {
  /** True when its holder has a connection, and is told at once; else he is when he renews it or comes back. */
  readonly told: boolean;
}

/** A session as others see it: without its id, which is for its client alone. */
export interface SessionSeen {
  /** Its place in the order in which sessions came; another one after a restart. */
  readonly number: number;
  readonly owner: string;
  /** `reader`: a native one that may only look. */
  readonly kind: "native" | "reader" | "http";
  /** `away`: its connection is down. `awaited`: it is from before a crash, and not back yet (R4). */
  readonly state: "here" | "away" | "awaited";
  readonly leaseMs: number;
  readonly expiresInMs: number;
  readonly holdCount: number;
  /** Names of what it holds, the first ten, the newest hold first; and of what it waits for. */
  readonly holds: readonly string[];
  readonly waiterCount: number;
  readonly waitsFor: readonly string[];
}

export interface SessionPage {
  readonly sessions: readonly SessionSeen[];
  /** The number to go on behind; null at the end. */
  readonly next: number | null;
}

/** A session that is open. `resumed`: it was before. */
export interface SessionInfo {
  readonly session: string;
  readonly leaseMs: number;
  readonly resumed: boolean;
}

/** What a `done` tells. From `Renewed` on they are for HTTP only. */
export type DoneValue =
  | boolean
  | null
  | LockInfo
  | LockPage
  | WatchStart
  | ServiceSettings
  | Renewed
  | Asked
  | SessionPage
  | SessionInfo;

export type ServerMessage =
  | readonly ["welcome", SessionInfo]
  | readonly ["queued", id: number, ticket: number, ahead: number]
  | readonly ["granted", id: number, token: number, extra?: GrantExtra]
  | readonly ["done", id: number, value: DoneValue]
  | readonly ["refused", id: number, code: ErrorCode, message: string, details?: RefusalDetails]
  | readonly ["lost", token: number, endedBy: EndedBy]
  /** Somebody wants a hold back, and says why. It stays its holder's. Told again after a resume. */
  | readonly ["asked", token: number, reason: string]
  /** `previous`: the position of the event before this one that the same watch was told, or had to be told. */
  | readonly ["event", watch: number, position: string, previous: string, event: ServiceEvent]
  /** Events of a watch were left out, up to this position: its reader was too slow. */
  | readonly ["gap", watch: number, position: string]
  | readonly ["ended", code: ErrorCode, message: string]
  /**
   * The service is served at that address now: the connection ends, and nothing is renewed by this. `urls`: those of all members. `epoch`: which change of its
   * owner that was; say it there.
   */
  | readonly ["moved", url: string, urls: readonly string[], epoch?: number]
  /** Addresses of all members of a cluster: after `welcome`, and when they change. */
  | readonly ["members", urls: readonly string[]]
  | readonly ["error", code: ErrorCode, message: string];
