import { runtime } from "#runtime";
import {
  type Duration,
  durationMs,
  LEASE_MS_DEFAULT,
  LIMITS,
  type LockInfo,
  lockNameProblem,
  metadataProblem,
  ownerProblem,
  PORT_DEFAULT,
  reasonProblem,
  serviceIdProblem,
} from "../protocol/index.js";
import {
  ConnectionError,
  DeadlockError,
  LockDBError,
  LockLostError,
  LockTimeoutError,
  UnauthorizedError,
} from "./errors.js";
import type { HeldLease } from "./lease.js";
import type { AcquireTerms } from "./request.js";
import { ClientSession } from "./session.js";
import type { AcquireOptions, CallOptions, Lease, LockDBOptions, LockOptions, Name, Names } from "./types.js";

const WAIT_MS_DEFAULT = 30_000;
const CALL_MS_DEFAULT = 5_000;
const UNLOCK_MS_MAX = 50_000;
const ANSWER_MS = 5_000;

/**
 * A client of LockDB: one session at the server, for one service.
 *
 * @example
 * const locker = new LockDB("reports");
 * await locker.withLock("invoice/42", async (lease) => {
 *   await charge({ signal: lease.signal, token: lease.token });
 * });
 */
export class LockDB {
  // Reachable for `require('lockdb')`, which gives the class itself.
  static readonly LockDB = LockDB;
  static readonly LockDBError = LockDBError;
  static readonly LockTimeoutError = LockTimeoutError;
  static readonly LockLostError = LockLostError;
  static readonly DeadlockError = DeadlockError;
  static readonly UnauthorizedError = UnauthorizedError;
  static readonly ConnectionError = ConnectionError;

  readonly #session: ClientSession;

  /**
   * Connects at the first call, not before.
   * @param serviceId the lock space; else `LOCKDB_SERVICE_ID`
   * @throws LockDBError `INVALID` for a bad option, `UNAUTHORIZED` without an API key
   */
  constructor(serviceId?: string, options: LockDBOptions = {}) {
    known(options, CLIENT_OPTIONS);
    const service = serviceId ?? runtime.env("LOCKDB_SERVICE_ID");
    if (service === undefined) throw invalid("No service id: pass one, or set LOCKDB_SERVICE_ID.");
    const apiKey = options.apiKey ?? runtime.env("LOCKDB_API_KEY");
    if (apiKey === undefined || apiKey === "") {
      throw new UnauthorizedError("No API key: pass { apiKey }, or set LOCKDB_API_KEY.");
    }
    // Such as the line end of a file: as a header it would fail at each connection, and say less.
    if (!/^[\x21-\x7e]+$/.test(apiKey))
      throw invalid("An API key has no spaces, line ends or letters beyond ASCII.");
    const owner = options.owner ?? runtime.ownerDefault();
    const leaseMs = span(options.lease ?? LEASE_MS_DEFAULT, "lease");
    if (leaseMs < LIMITS.leaseMsMin || leaseMs > LIMITS.leaseMsMax)
      throw invalid("lease must be from 1s to 1h.");
    const problem = serviceIdProblem(service) ?? ownerProblem(owner);
    if (problem !== null) throw invalid(problem);
    const urls = serverUrls(options.serverUrl ?? runtime.env("LOCKDB_SERVER_URL"));
    this.#session = new ClientSession(runtime, { service, apiKey, urls, leaseMs, owner });
  }

  /**
   * Runs `fn` while holding the lock, and releases it afterwards, whatever happens.
   * @returns what `fn` returns
   * @throws what `fn` throws; LockLostError when the lock was lost before `fn` ended; else as `acquire`
   */
  withLock<T>(names: Names, fn: (lease: Lease) => T | Promise<T>): Promise<T>;
  withLock<T>(names: Names, options: AcquireOptions, fn: (lease: Lease) => T | Promise<T>): Promise<T>;
  async withLock<T>(
    names: Names,
    optionsOrFn: AcquireOptions | undefined | ((lease: Lease) => T | Promise<T>),
    maybeFn?: (lease: Lease) => T | Promise<T>,
  ): Promise<T> {
    const [options, fn] = typeof optionsOrFn === "function" ? [{}, optionsOrFn] : [optionsOrFn, maybeFn];
    if (typeof fn !== "function") throw invalid("withLock needs a function to run.");
    const lease = await this.#acquire(names, options);
    try {
      const result = await fn(lease);
      lease.assertNotLost();
      return result;
    } finally {
      // An unanswered release is no failure of the work: the lock ends with its lease at the latest.
      await lease.release().catch(() => false);
    }
  }

  /**
   * Waits for the lock and holds it until `release`, or until the lease is lost.
   * @throws LockTimeoutError when it was not free in time; ConnectionError; UnauthorizedError; LockDBError; the reason
   *   of `options.signal` when that aborts
   */
  acquire(names: Names, options: AcquireOptions = NO_OPTIONS): Promise<Lease> {
    return this.#acquire(names, options);
  }

  // Not an async function: this is the hot path, and a promise around a promise costs as much as the rest of it.
  #acquire(names: Names, options: AcquireOptions = NO_OPTIONS): Promise<HeldLease> {
    try {
      return this.#session.acquire(acquireTerms(oneName(names), options), options.signal);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Asks once, without waiting.
   * @returns null when somebody else has the lock
   * @throws LockDBError `RECOVERING` while the server cannot know who has it; else as `acquire`
   */
  async tryAcquire(names: Names, options: AcquireOptions = {}): Promise<Lease | null> {
    try {
      return await this.#acquire(names, { ...known(options, ACQUIRE_OPTIONS), wait: 0 });
    } catch (error) {
      if (error instanceof LockTimeoutError) return null;
      throw error;
    }
  }

  /**
   * Releases a detached hold by its token, from any process.
   * @returns false when it was over already
   */
  async release(name: Name, token: number): Promise<boolean> {
    return this.#session.releaseAny(checkedToken(token), checkedName(name));
  }

  /**
   * Ends a hold of somebody else, who is told and loses it. For operators: whoever held it may be writing still, and only
   * the token protects what it writes to (F1). The server records who did it, and why.
   * @param token the one that was seen, with `inspect` or in an error: a later hold is not touched
   * @throws LockDBError `NOT_HELD` when the lock has no hold with this token; `details.holder` tells who has it
   */
  async forceRelease(name: Name, token: number, reason: string): Promise<void> {
    const checked = checkedName(name);
    const problem = reasonProblem(reason);
    if (problem !== null) throw invalid(problem);
    const seen = checkedToken(token);
    await this.#session.call(ANSWER_MS, (id) => ["force", id, checked, seen, reason]);
  }

  /** Who holds a lock and who waits for it. */
  async inspect(name: Name): Promise<LockInfo> {
    const checked = checkedName(name);
    return (await this.#session.call(ANSWER_MS, (id) => ["inspect", id, checked])) as LockInfo;
  }

  /** Ends the session: what it still holds is freed, and `lease.signal`s abort. Further calls reject with `CLOSED`. */
  close(): Promise<void> {
    return this.#session.close();
  }

  /**
   * The original call: a detached hold that lasts 300 s unless it is unlocked, by anyone in the service.
   * Several names are locked one after the other, in the order given; if one fails, those before it are given back.
   */
  async lock(names: Names, options: LockOptions = {}): Promise<true> {
    const {
      waitTimeoutInMs = 30_000,
      lockExpirationInSeconds = 300,
      unlockWebhookUrl,
    } = known(options, LOCK_OPTIONS);
    if (unlockWebhookUrl !== undefined) throw invalid("unlockWebhookUrl is not supported yet. Leave it out.");
    const detached =
      typeof lockExpirationInSeconds === "number" ? lockExpirationInSeconds * 1_000 : Number.NaN;
    if (!(detached >= END_MS_MIN && detached <= LIMITS.durationMsMax)) {
      throw invalid(
        `lockExpirationInSeconds is a number of seconds from ${END_MS_MIN / 1_000} to ten years.`,
      );
    }
    const leases: Lease[] = [];
    try {
      for (const name of allNames(names))
        leases.push(await this.acquire(name, { wait: waitTimeoutInMs, detached }));
    } catch (error) {
      await Promise.allSettled(leases.map((lease) => lease.release()));
      throw error;
    }
    return true;
  }

  /** The original call: frees detached locks by name. True when any of them was locked. */
  async unlock(names: Names, options: CallOptions = {}): Promise<boolean> {
    const { waitTimeoutInMs = CALL_MS_DEFAULT } = known(options, CALL_OPTIONS);
    // Its answer is kept for a minute: asked again after that, it might free the next holder (Q6).
    const timeoutMs = Math.min(span(waitTimeoutInMs, "waitTimeoutInMs"), UNLOCK_MS_MAX);
    let wasLocked = false;
    for (const name of allNames(names)) {
      const one = await this.#session.call(timeoutMs, (id) => ["unlock", id, name]);
      wasLocked ||= one === true;
    }
    return wasLocked;
  }

  /** The original call: whether anyone holds any of the locks. */
  async check(names: Names, options: CallOptions = {}): Promise<boolean> {
    const { waitTimeoutInMs = CALL_MS_DEFAULT } = known(options, CALL_OPTIONS);
    const timeoutMs = span(waitTimeoutInMs, "waitTimeoutInMs");
    for (const name of allNames(names)) {
      if ((await this.#session.call(timeoutMs, (id) => ["check", id, name, timeoutMs])) === true) return true;
    }
    return false;
  }
}

const CLIENT_OPTIONS = new Set(["apiKey", "serverUrl", "lease", "owner"]);
const LOCK_OPTIONS = new Set(["waitTimeoutInMs", "lockExpirationInSeconds", "unlockWebhookUrl"]);
const CALL_OPTIONS = new Set(["waitTimeoutInMs"]);
const ACQUIRE_OPTIONS = new Set(["wait", "signal", "minHold", "maxHold", "detached", "metadata", "mode"]);

/** An end that comes sooner leaves next to nothing: the margin of L2 takes 200 ms of it. */
const END_MS_MIN = 250;

const NO_OPTIONS: AcquireOptions = Object.freeze({});

function acquireTerms(name: string, options: AcquireOptions): AcquireTerms {
  if (options === NO_OPTIONS) {
    return {
      name,
      waitMs: WAIT_MS_DEFAULT,
      detachedMs: null,
      minHoldMs: null,
      maxHoldMs: null,
      metadata: null,
    };
  }
  known(options, ACQUIRE_OPTIONS);
  if (((options as { mode?: unknown }).mode ?? "exclusive") !== "exclusive") {
    throw invalid("Only the mode exclusive is supported yet.");
  }
  const { wait = WAIT_MS_DEFAULT, signal, minHold, maxHold, detached, metadata } = options;
  if (signal !== undefined && typeof signal?.throwIfAborted !== "function") {
    throw invalid("signal must be an AbortSignal.");
  }
  const optional = (value: Duration | undefined, what: string) =>
    value === undefined ? null : span(value, what);
  const terms = {
    name,
    waitMs: wait === "forever" ? Number.POSITIVE_INFINITY : span(wait, "wait"),
    detachedMs: optional(detached, "detached"),
    minHoldMs: optional(minHold, "minHold"),
    maxHoldMs: optional(maxHold, "maxHold"),
    // A copy: what a resume says of the hold must be what the server was told, and valid.
    metadata: metadata === undefined ? null : { ...metadata },
  };
  checkEnd(terms.detachedMs, "detached");
  checkEnd(terms.maxHoldMs, "maxHold");
  if (terms.detachedMs !== null && terms.maxHoldMs !== null) {
    throw invalid("A detached hold has its own end. Leave maxHold out.");
  }
  const problem = metadata === undefined ? null : metadataProblem(metadata);
  if (problem !== null) throw invalid(problem);
  return terms;
}

function checkEnd(ms: number | null, what: string): void {
  if (ms !== null && ms < END_MS_MIN) throw invalid(`${what} must be at least ${END_MS_MIN}ms.`);
}

/** An option that is quietly ignored, such as a mode, would be a lock of another kind than the caller believes. */
function known<T>(options: T, names: ReadonlySet<string>): T {
  if (typeof options !== "object" || options === null) throw invalid("Options must be an object.");
  const unknown = Object.keys(options).find((option) => !names.has(option));
  if (unknown !== undefined) throw invalid(`The option "${unknown}" is not supported.`);
  return options;
}

function oneName(names: Names): string {
  if (typeof names === "string") return checkedName(names);
  const all = allNames(names);
  if (all.length !== 1)
    throw invalid("Several names in one request are not supported yet. Ask for one at a time.");
  return all[0]!;
}

function allNames(names: Names): readonly string[] {
  const all = typeof names === "string" ? [names] : names;
  if (!Array.isArray(all) || all.length === 0) throw invalid("A lock name or a list of names is needed.");
  return all.map(checkedName);
}

function checkedName(name: string): string {
  const problem = lockNameProblem(name);
  if (problem !== null) throw invalid(problem);
  return name;
}

function checkedToken(token: number): number {
  if (!Number.isSafeInteger(token) || token < 1) throw invalid("A token is an integer from 1.");
  return token;
}

function span(value: unknown, what: string): number {
  try {
    return durationMs(value, what);
  } catch (error) {
    throw invalid((error as Error).message);
  }
}

function serverUrls(given: string | readonly string[] | undefined): readonly string[] {
  const list = typeof given === "string" ? given.split(",") : (given ?? []);
  if (!Array.isArray(list)) throw invalid("serverUrl must be an address or a list of addresses.");
  const urls = list.map((url) => String(url).trim()).filter((url) => url !== "");
  if (urls.length === 0) return [`http://127.0.0.1:${PORT_DEFAULT}`];
  for (const url of urls) {
    if (!URL.canParse(url) || !/^https?:\/\/[^?#]+$/.test(url)) {
      throw invalid(
        `A server address begins with http:// or https:// and has no ? or #, unlike ${JSON.stringify(url)}.`,
      );
    }
  }
  return urls;
}

function invalid(message: string): LockDBError {
  return new LockDBError("INVALID", message);
}
