import { runtime } from "#runtime";
import { LIMITS, serviceIdProblem } from "../protocol/index.js";
import { LockDBError } from "./errors.js";
import type { HeldLease } from "./lease.js";
import type { Lease } from "./types.js";

/** Where tokens are from. */
export interface Place {
  readonly service: string;
  readonly servers: string;
}

/** A hold that the present work is done inside of: it cannot end before what is asked here is granted (D1). */
export interface EnclosingHold {
  readonly service: string;
  readonly token: number;
  /** Null when it came in a header, whose sender may know the servers under other addresses. */
  readonly servers: string | null;
  /** As its holder sees it; null when it came in a header. */
  readonly lease: HeldLease | null;
}

/** Holds around one piece of work, over all services. */
const HOLDS_MAX = 256;

const NO_LEASE = "within is a lease, as acquire and withLock give it.";
const NO_HOLDS: readonly EnclosingHold[] = Object.freeze([]);
const NO_TOKENS: readonly number[] = Object.freeze([]);

/** The holds that the present work is done inside of, the outermost first. */
export function enclosingHolds(): readonly EnclosingHold[] {
  return (runtime.context.current() as readonly EnclosingHold[] | undefined) ?? NO_HOLDS;
}

/**
 * Those, and those that a lease is.
 * @throws LockDBError `INVALID` for what is no lease
 */
export function holdsAround(within?: Lease, around = enclosingHolds()): readonly EnclosingHold[] {
  if (within === undefined) return around;
  const inside: unknown = (within as { enclosing?: unknown } | null)?.enclosing;
  if (!Array.isArray(inside)) throw new LockDBError("INVALID", NO_LEASE);
  return distinct([...around, ...inside]);
}

/** Runs `fn`, and all that comes of it, inside of these holds. */
export function runInside<T>(holds: readonly EnclosingHold[], fn: () => T): T {
  return runtime.context.run(holds, fn);
}

/** Each hold once, and of very many the innermost. */
export function distinct(holds: readonly EnclosingHold[]): readonly EnclosingHold[] {
  const byPlace = new Map<string, EnclosingHold>();
  for (const hold of holds) {
    const key = `${hold.token} ${hold.service} ${hold.servers}`;
    if (!byPlace.has(key)) byPlace.set(key, hold);
  }
  return [...byPlace.values()].slice(-HOLDS_MAX);
}

/** Tokens of those holds that a service may know; of very many the innermost. */
export function tokensOf(holds: readonly EnclosingHold[], { service, servers }: Place): readonly number[] {
  if (holds.length === 0) return NO_TOKENS;
  const here = holds.filter((hold) => hold.service === service && (hold.servers ?? servers) === servers);
  return [...new Set(here.map(({ token }) => token))].slice(-LIMITS.withinMax);
}

/**
 * What to send along as `lockdb-context` with a call to another service, so that a deadlock that goes through both is
 * found (D1). Empty when no lock is held around this call.
 *
 * @param within a lease that the call is made inside of, where that is not known by itself: one from `acquire`, and in browsers
 * @throws LockDBError `INVALID` for what is no lease
 * @example
 * await fetch(url, { headers: { "lockdb-context": contextHeader() } });
 */
export function contextHeader(within?: Lease): string {
  const tokens = new Map<string, Set<number>>();
  for (const { service, token } of holdsAround(within).slice(-LIMITS.withinMax)) {
    tokens.set(service, (tokens.get(service) ?? new Set()).add(token));
  }
  return [...tokens].map(([service, ofService]) => `${service}=${[...ofService].join(".")}`).join(",");
}

/**
 * Runs `fn`, and all that comes of it, inside of the holds that a caller's `lockdb-context` header names. Believe it only
 * from your own services: whoever writes it can make others' requests look like deadlocks.
 *
 * @param header as it came; nothing, or an empty text, for a call that was made under no lock
 * @returns what `fn` returns
 * @throws LockDBError `INVALID` for a header that `contextHeader` did not write
 * @example
 * const label = await withContext(headers["lockdb-context"], () => locker.withLock("order/7", { reentrant: true }, print));
 */
export function withContext<T>(header: string | readonly string[] | null | undefined, fn: () => T): T {
  const text = typeof header === "object" && header !== null ? header.join(",") : (header ?? "");
  const holds = text.trim() === "" ? NO_HOLDS : parsed(text);
  return holds.length === 0 ? fn() : runInside(distinct([...enclosingHolds(), ...holds]), fn);
}

function parsed(text: string): readonly EnclosingHold[] {
  const holds = text.split(",").flatMap((part) => {
    const [service = "", tokens = ""] = part.trim().split("=");
    if (serviceIdProblem(service) !== null || !/^\d{1,16}(\.\d{1,16})*$/.test(tokens)) throw unreadable(text);
    return tokens.split(".").map((token) => ({ service, token: Number(token), servers: null, lease: null }));
  });
  if (holds.some(({ token }) => !Number.isSafeInteger(token) || token < 1)) throw unreadable(text);
  return holds.slice(-LIMITS.withinMax);
}

function unreadable(text: string): LockDBError {
  return new LockDBError(
    "INVALID",
    `The header lockdb-context is none that contextHeader() wrote: ${JSON.stringify(text.slice(0, 100))}.`,
  );
}
