/** The public HTTP API, as anybody has it. */
import { signal } from "@preact/signals";
import type {
  AccountInfo,
  AuditEntry,
  HolderInfo,
  KeyInfo,
  LockInfo,
  LockPage,
  Renewed,
  Scope,
  ServiceEvent,
  SessionPage,
  WaiterInfo,
} from "lockdb/protocol";
import { shellAddress } from "./address.js";

export type { AccountInfo, AuditEntry, KeyInfo, Scope };

/** Where a service is crowded: longest queues, longest waits, oldest holds. */
export interface Contention {
  /** Each with its newest holder and its first waiter. */
  readonly hottest: readonly { readonly lock: LockInfo }[];
  readonly longestWaits: readonly {
    readonly name: string;
    readonly waiter: WaiterInfo;
    readonly holder: HolderInfo | null;
    readonly queueLength: number;
  }[];
  readonly oldestHolds: readonly {
    readonly name: string;
    readonly holder: HolderInfo;
    readonly queueLength: number;
  }[];
}

export interface Self {
  readonly key: KeyInfo;
  readonly account: AccountInfo;
}

export interface Stats {
  readonly service: string;
  readonly recovering: boolean;
  readonly sessions: number;
  readonly holds: number;
  readonly locks: number;
  readonly waiters: number;
  readonly granted: number;
  readonly queued: number;
  readonly deadlocks: number;
  readonly released: number;
  readonly expired: number;
  readonly forced: number;
  readonly waits: readonly { readonly withinMs: number | null; readonly count: number }[];
}

export interface PastEvents {
  readonly events: readonly { readonly id: string; readonly event: ServiceEvent }[];
  readonly position: string;
  readonly missed: boolean;
  readonly more: boolean;
}

export interface Delivery {
  readonly id: string;
  readonly service: string;
  readonly lockName: string;
  readonly url: string;
  readonly status: "pending" | "delivered" | "failed";
  readonly attempts: number;
  readonly createdAt: string;
  readonly lastError: string | null;
}

/** What the server has said no to, or that it could not be reached (`code` is then `CONNECTION`). */
export class ApiError extends Error {
  readonly code: string;
  readonly status: number;
  readonly retryAfterS: number;

  constructor(code: string, message: string, status: number, retryAfterS = 0) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** Whether the server can be reached. */
export const link = signal<{ readonly isUp: boolean; readonly sinceMs: number; readonly why: string }>({
  isUp: true,
  sinceMs: Date.now(),
  why: "",
});

export function linkIs(isUp: boolean, why = ""): void {
  if (link.value.isUp !== isUp) link.value = { isUp, sinceMs: serverNowMs(), why };
}

/** The server's time of day is so much ahead of ours, at least and at most: its answers say it to the second. */
let [aheadMin, aheadMax] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];

function hearDate(date: string | null, askedAtMs: number): void {
  const ms = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(ms)) return;
  const [min, max] = [ms - Date.now(), ms + 1_000 - askedAtMs];
  // Somebody has set a clock.
  if (min > aheadMax || max < aheadMin) [aheadMin, aheadMax] = [min, max];
  else [aheadMin, aheadMax] = [Math.max(min, aheadMin), Math.min(max, aheadMax)];
}

/** An event has happened before we hear of it. */
export function hearEventAt(at: string): void {
  const min = Date.parse(at) - Date.now();
  if (min > aheadMin) aheadMin = Math.min(min, Math.max(aheadMax, min));
}

/** Time of day at the server, as far as it is known here. */
export function serverNowMs(): number {
  if (!Number.isFinite(aheadMin)) return Date.now();
  // Within what is possible the clocks are taken for equal.
  const ahead = Math.min(Math.max(0, aheadMin), aheadMax);
  return Date.now() + ahead;
}

const BASE = new URL("./", document.baseURI.split("#")[0]!);

export function addressOf(path: string): string {
  return new URL(path.replace(/^\//, ""), BASE).href;
}

/** Of this server, without the slash at its end: what clients are told. */
export const SERVER_URL = shellAddress(BASE.href);

export type Query = Readonly<Record<string, string | number | undefined>>;

export class Api {
  readonly apiKey: string;

  constructor(apiKey: string) {
    this.apiKey = apiKey;
  }

  get headers(): Record<string, string> {
    return { authorization: `Bearer ${this.apiKey}` };
  }

  async call<T>(
    method: string,
    path: string,
    query: Query = {},
    body?: object,
    signal: AbortSignal | null = null,
  ): Promise<T> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    const askedAtMs = Date.now();
    let response: Response;
    try {
      response = await fetch(`${addressOf(path)}${text === "" ? "" : `?${text}`}`, {
        ...{ method, headers: this.headers, signal, cache: "no-store" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      linkIs(false, "It does not answer.");
      throw new ApiError("CONNECTION", "The server cannot be reached.", 0);
    }
    hearDate(response.headers.get("date"), askedAtMs);
    if (response.ok) {
      linkIs(true);
      return (await response.json()) as T;
    }
    throw await errorIn(response);
  }

  get<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> {
    return this.call<T>("GET", path, query, undefined, signal);
  }

  self(): Promise<Self> {
    return this.get("/v1/self");
  }

  async services(): Promise<readonly string[]> {
    const all: string[] = [];
    let after: string | undefined;
    do {
      const page: { services: { service: string }[]; next: string | null } = await this.get("/v1/services", {
        limit: 1_000,
        after,
      });
      all.push(...page.services.map(({ service }) => service));
      after = page.next ?? undefined;
    } while (after !== undefined && all.length < 10_000);
    return all;
  }

  stats(service: string, signal?: AbortSignal): Promise<Stats> {
    return this.get(`${of(service)}/stats`, {}, signal);
  }

  contention(service: string, signal?: AbortSignal): Promise<Contention> {
    return this.get(`${of(service)}/contention`, { limit: 8 }, signal);
  }

  locks(service: string, query: Query, signal?: AbortSignal): Promise<LockPage> {
    return this.get(`${of(service)}/locks`, query, signal);
  }

  async lock(service: string, name: string, signal?: AbortSignal): Promise<LockInfo> {
    return (await this.locks(service, { name }, signal)).locks[0]!;
  }

  sessions(service: string, after: number, signal?: AbortSignal): Promise<SessionPage> {
    return this.get(`${of(service)}/sessions`, { after, limit: 200 }, signal);
  }

  past(service: string, query: Query, signal?: AbortSignal): Promise<PastEvents> {
    return this.get(`${of(service)}/events`, { since: "0", ...query }, signal);
  }

  ask(service: string, name: string, token: number, reason: string): Promise<{ told: boolean }> {
    return this.call("POST", `${of(service)}/ask`, {}, { name, token, reason });
  }

  force(service: string, name: string, token: number, reason: string): Promise<{ released: true }> {
    return this.call("DELETE", `${of(service)}/locks`, { name, token, reason });
  }
}

export type { HolderInfo, LockInfo, LockPage, Renewed, ServiceEvent, SessionPage };

/** The path of what is about a service. */
export function of(service: string): string {
  return `/v1/services/${encodeURIComponent(service)}`;
}

/** Whether trials can be started here: the address is there or not. */
export async function signupIsOn(): Promise<boolean> {
  try {
    return (await fetch(addressOf("/v1/signup"), { method: "OPTIONS" })).ok;
  } catch {
    return false;
  }
}

export async function errorIn(response: Response): Promise<ApiError> {
  const retryAfterS = Number(response.headers.get("retry-after") ?? 0);
  const { status } = response;
  const isProxy = status === 502 || status === 504;
  if (isProxy) linkIs(false, "Something between here and there says that it does not answer.");
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    if (error.code === "UNAVAILABLE") linkIs(false, error.message);
    else linkIs(true);
    return new ApiError(error.code, error.message, status, retryAfterS);
  } catch {
    return new ApiError(
      "INTERNAL",
      `The server has answered ${status}, which this page does not understand.`,
      status,
    );
  }
}
