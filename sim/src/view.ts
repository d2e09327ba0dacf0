import type { LockInfo } from "../../packages/lockdb/dist/protocol/messages.js";
import type { AcquireCommand, Command } from "../../packages/server/dist/engine/commands.js";
import type { Want } from "./modes.js";

/** What the engine says of each lock of a service, at one moment. */
export type Locks = ReadonlyMap<string, LockInfo>;

/** A request for locks, whatever connection it comes on. */
export interface Asked {
  readonly key: string;
  readonly wants: readonly Want[];
  readonly detachedMs: number | null;
  readonly webhookUrl: string | undefined;
  readonly within: readonly number[];
  readonly reentrant: boolean;
  readonly steals: boolean;
  /** Scope of its id for durable effects; null for an HTTP caller. */
  readonly durableKey: string | null;
  /** The last token that it was granted, and by which engine. */
  granted: { readonly token: number; readonly view: View } | null;
  /** Its answer was acknowledged. */
  isHeard: boolean;
  /** It has come more than once. */
  isRepeated: boolean;
  /** Its place in the queue, if it has one. */
  ticket: number | null;
  /** Why it must not be granted any more. */
  gone: string | null;
}

/** One engine's life, as its commands and answers show it. */
export interface View {
  /** Sessions by the address of their connection. */
  readonly sessionByAddress: Map<string, string>;
  readonly addressBySession: Map<string, string>;
  /** Sessions that are connected, and have said all they have to say. */
  readonly synced: Set<string>;
  /** Tokens that were granted or known before this engine began. */
  readonly known: Set<number>;
  /** What was asked for, by ticket and by token. */
  readonly askedByTicket: Map<number, Asked>;
  readonly wantsByToken: Map<number, readonly Want[]>;
  lastToken: number;
  /** Empty until the first command that tells. */
  service: string;
  /** Addresses begin anew with every engine. */
  readonly number: number;
  /** What it began with is known; a service that nothing is stored of begins with nothing. */
  isRestored: boolean;
}

export function newView(number: number): View {
  return {
    sessionByAddress: new Map(),
    addressBySession: new Map(),
    synced: new Set(),
    known: new Set(),
    askedByTicket: new Map(),
    wantsByToken: new Map(),
    lastToken: 0,
    service: "",
    number,
    isRestored: false,
  };
}

export function newAsked(key: string, wants: readonly Want[], command: AcquireCommand): Asked {
  const { session, id, detachedMs, webhookUrl, within, reentrant, stolenBy } = command;
  return {
    key,
    wants,
    detachedMs,
    webhookUrl,
    within,
    reentrant,
    steals: stolenBy !== null,
    durableKey: session === null ? null : `${clientOf(session)}/${id}`,
    granted: null,
    isHeard: false,
    isRepeated: false,
    ticket: null,
    gone: null,
  };
}

/** Lock names, client ids and session ids begin with their service. */
export function serviceOf(id: string): string {
  return /^\w+/.exec(id)![0];
}

/** A session's id is its client's with a number behind it. */
export function clientOf(session: string): string {
  return session.slice(0, session.lastIndexOf("-"));
}

export function commandWords(command: Command): string {
  const { kind, ...rest } = command as { kind: string } & Record<string, unknown>;
  const who = (rest.session ?? rest.address ?? "") as string;
  const names = rest.names === undefined ? null : JSON.stringify(rest.names);
  const within = (rest.within as number[] | undefined)?.length ? `within ${rest.within}` : null;
  const flags = ["reentrant", "stolenBy"].filter((flag) => rest[flag]);
  const facts = [rest.id, rest.token, rest.name, names, rest.waitMs, rest.connection, within, ...flags];
  return [who, kind, ...facts.filter((fact) => fact != null)].join(" ").trim();
}

export function wordsOf(message: readonly unknown[]): string {
  const [kind, ...rest] = message;
  return `${kind} ${rest.map((fact) => (typeof fact === "object" ? "" : String(fact))).join(" ")}`
    .trim()
    .slice(0, 80);
}
