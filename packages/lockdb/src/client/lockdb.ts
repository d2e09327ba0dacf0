import { lead } from "#lead";
import { runtime } from "#runtime";
import { Tracing } from "#tracing";
import { WebLocks } from "#web-locks";
import {
  LEASE_MS_DEFAULT,
  LIMITS,
  type LockInfo,
  ownerProblem,
  reasonProblem,
  serviceIdProblem,
} from "../protocol/index.js";
import type { Runtime } from "../runtime/runtime.js";
import { runInside } from "./context.js";
import {
  ConnectionError,
  DeadlockError,
  LockDBError,
  LockLostError,
  LockTimeoutError,
  UnauthorizedError,
} from "./errors.js";
import type { HeldLease, OwnLease } from "./lease.js";
import { ANSWER_MS } from "./look.js";
import { serverUrls } from "./server-urls.js";
import { ClientSession } from "./session.js";
import {
  ACQUIRE_OPTIONS,
  acquireTerms,
  checkedName,
  END_MS_MIN,
  invalid,
  known,
  NO_OPTIONS,
  span,
} from "./terms.js";
import type {
  AcquireOptions,
  CallOptions,
  Lease,
  LockDBOptions,
  LockEvent,
  LockOptions,
  Name,
  Names,
  PrefixOptions,
  TlsOptions,
} from "./types.js";
import type { LockManager } from "./web-locks.js";

const CALL_MS_DEFAULT = 5_000;
const UNLOCK_MS_MAX = 50_000;

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

  /** The locks of the service as the W3C `LockManager`: code that was written for `navigator.locks` runs unchanged. */
  readonly locks: LockManager;
  readonly #session: ClientSession;

  /**
   * Connects at the first call, not before.
   * @param serviceId the lock space; else `LOCKDB_SERVICE_ID`
   * @throws LockDBError `INVALID` for a bad option, `UNAUTHORIZED` without an API key
   *
   * @example
   * const here = new LockDB("reports", { apiKey, serverUrl: "https://locks.internal:5625", lease: "30s" });
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
    this.#session = new ClientSession(machineWith(options.tls), { service, apiKey, urls, leaseMs, owner });
    this.locks = new WebLocks(this.#session);
    const { tracer } = options;
    if (tracer === undefined) return;
    if (typeof tracer?.startActiveSpan !== "function")
      throw invalid("tracer is what trace.getTracer() of OpenTelemetry gives.");
    this.#session.tracing = new Tracing(tracer, this.#session, service);
  }

  /**
   * Runs `fn` while holding the lock, and releases it afterwards, whatever happens.
   * @returns what `fn` returns
   * @throws what `fn` throws; LockLostError when the lock was lost before `fn` ended; else as `acquire`
   *
   * @example
   * const total = await locker.withLock("invoice/42", { wait: "10s" }, async (lease) => {
   *   lease.assertHeld();
   *   return settle({ token: lease.token });
   * });
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
    const { tracing } = this.#session;
    if (tracing === null) return whileHeld(await this.#acquire(names, options), fn);
    const terms = acquireTerms(names, options ?? NO_OPTIONS);
    return tracing.withLock(terms, options?.signal, (lease) => whileHeld(lease, fn));
  }

  /**
   * Waits for the lock (`wait`, 30 s unless it says otherwise) and holds it until `release`, or until the lease is lost.
   * @throws LockTimeoutError when it was not free in time; DeadlockError when it could never be granted; ConnectionError when no
   *   server was reached (5 s); UnauthorizedError; LockDBError with another code, such as `QUEUE_FULL` or `FORBIDDEN`; the reason of
   *   `options.signal` when that aborts
   *
   * @example
   * const lease = await locker.acquire("disk", { wait: "1m", maxHold: "10m" });
   * try {
   *   await job.run(lease.signal);
   * } finally {
   *   await lease.release();
   * }
   */
  acquire(names: Names, options: AcquireOptions = NO_OPTIONS): Promise<Lease> {
    return this.#acquire(names, options);
  }

  // Not an async function: this is the hot path, and a promise around a promise costs as much as the rest of it.
  #acquire(names: Names, options: AcquireOptions = NO_OPTIONS): Promise<OwnLease> {
    try {
      return this.#session.acquire(acquireTerms(names, options), options.signal);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Asks once, without waiting.
   * @returns null when somebody else has the lock
   * @throws LockDBError `RECOVERING` while the server cannot know who has it; else as `acquire`
   *
   * @example
   * const lease = await locker.tryAcquire("cron/nightly", { minHold: "1m" });
   * if (lease === null) return; // somebody else does it
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
   * @throws ConnectionError when the server does not answer in time (5 s), UnauthorizedError, LockDBError
   *
   * @example
   * const { token } = await locker.acquire("deploy", { detached: "30m" });
   * await locker.release("deploy", token);
   */
  async release(name: Name, token: number): Promise<boolean> {
    return this.#session.releaseAny(checkedToken(token), checkedName(name));
  }

  /**
   * Ends a hold of somebody else, who is told and loses it. For operators: whoever held it may be writing still, and only
   * the token protects what it writes to (F1). The server records who did it, and why.
   * @param token the one that was seen, with `inspect` or in an error: a later hold is not touched
   * @param reason for the holder and the audit log; at most 256 bytes
   * @throws LockDBError `NOT_HELD` when the lock has no hold with this token (`details.holder` tells who has it), `FORBIDDEN` for a key
   *   without the scope `force`; ConnectionError when the server does not answer in time (5 s)
   *
   * @example
   * const { holders } = await locker.inspect("nightly");
   * if (holders[0] !== undefined) await locker.forceRelease("nightly", holders[0].token, "host db3 hangs");
   */
  async forceRelease(name: Name, token: number, reason: string): Promise<void> {
    const checked = checkedName(name);
    const problem = reasonProblem(reason);
    if (problem !== null) throw invalid(problem);
    const seen = checkedToken(token);
    await this.#session.call(ANSWER_MS, (id) => ["force", id, checked, seen, reason]);
  }

  /**
   * Who holds a lock and who waits for it: the newest hundred holders and the first hundred waiters. Needs a key with the scope `read`.
   * @throws ConnectionError when the server does not answer in time (5 s), UnauthorizedError, LockDBError
   *
   * @example
   * const { held, holders, queueLength } = await locker.inspect("disk");
   */
  async inspect(name: Name): Promise<LockInfo> {
    return this.#session.look.inspect(checkedName(name));
  }

  /**
   * All locks that are held or waited for, page by page from the server: those that came to be so first come first.
   * Of each it shows ten holders and ten waiters at most; `inspect` shows more. Needs a key with the scope `read`.
   * @throws LockDBError `NOT_FOUND` when it was not gone on with for a minute, or the server has restarted; else as `inspect`
   *
   * @example
   * for await (const { name, holders } of locker.list({ prefix: "invoice/" })) console.log(name, holders);
   */
  list(options: PrefixOptions = {}): AsyncIterable<LockInfo> {
    return this.#session.look.list({ prefix: known(options, PREFIX_OPTIONS).prefix ?? "" });
  }

  /**
   * What happens to locks from now on, in order. It goes on over lost connections and restarts of the server; where something
   * may be missing it yields `{ type: "gap" }`: then look again, with `inspect` or `list`. What is listed after this call
   * misses nothing. Needs a key with the scope `read`.
   * @throws LockDBError `FORBIDDEN`, `LIMIT_EXCEEDED` (1,000 watches a service), UnauthorizedError
   *
   * @example
   * for await (const event of locker.watch({ prefix: "invoice/" })) console.log(event);
   */
  watch(options: PrefixOptions = {}): AsyncIterableIterator<LockEvent> {
    const { prefix } = known(options, PREFIX_OPTIONS);
    return this.#session.watch(prefix === undefined ? {} : { prefix });
  }

  /**
   * Leader election: waits until this client leads, and runs `fn` for as long as it does. When the leadership is lost,
   * `lease.signal` aborts; once `fn` has ended it is waited for again. Whoever leads is shown by `inspect` and `watch`.
   *
   * @param options `signal` ends it: `lease.signal` aborts, and when `fn` has ended this rejects with the signal's reason
   * @returns when `fn` has ended while it led: it has resigned
   * @throws what `fn` throws while it leads; what `acquire` throws, unless trying again may help
   *
   * @example
   * const stop = new AbortController();
   * await locker.lead("scheduler", { signal: stop.signal }, (lease) => job.run(lease.signal));
   */
  lead(name: Name, fn: (lease: Lease) => Promise<void>): Promise<void>;
  lead(
    name: Name,
    options: { readonly signal?: AbortSignal },
    fn: (lease: Lease) => Promise<void>,
  ): Promise<void>;
  async lead(
    name: Name,
    optionsOrFn: { readonly signal?: AbortSignal } | ((lease: Lease) => Promise<void>),
    maybeFn?: (lease: Lease) => Promise<void>,
  ): Promise<void> {
    const [options, fn] = typeof optionsOrFn === "function" ? [{}, optionsOrFn] : [optionsOrFn, maybeFn];
    if (typeof fn !== "function") throw invalid("lead needs a function to run.");
    const { signal } = known(options, LEAD_OPTIONS);
    const terms = acquireTerms(checkedName(name), { wait: "forever", ...(signal ? { signal } : {}) });
    const acquire = () => this.#session.acquire({ ...terms, leads: true }, signal) as Promise<HeldLease>;
    await lead(runtime, acquire, signal, (lease) =>
      runInside((lease as OwnLease).enclosing, () => fn(lease)),
    );
  }

  /**
   * Ends the session: what it still holds is freed, and `lease.signal`s abort. Detached holds stay. Further calls reject with `CLOSED`.
   * It does not reject.
   *
   * @example
   * process.once("SIGTERM", () => locker.close());
   */
  close(): Promise<void> {
    return this.#session.close();
  }

  /**
   * The original call: a detached hold that lasts 300 s unless it is unlocked, by anyone in the service.
   * Several names are locked one after the other, in the order given; if one fails, those before it are given back.
   * @throws LockTimeoutError (its `name` is `TimeoutError`) when one was not free in time; else as `acquire`
   *
   * @example
   * await locker.lock("report", { waitTimeoutInMs: 10_000, lockExpirationInSeconds: 60 });
   */
  async lock(names: Name | readonly Name[], options: LockOptions = {}): Promise<true> {
    const {
      waitTimeoutInMs = 30_000,
      lockExpirationInSeconds = 300,
      unlockWebhookUrl,
    } = known(options, LOCK_OPTIONS);
    const webhookUrl = unlockWebhookUrl ?? null;
    // What else may be wrong with it the server says: a web page need not bring that along.
    if (webhookUrl !== null && !isShortUrl(webhookUrl))
      throw invalid(
        "unlockWebhookUrl is a whole URL of at most 1,024 bytes, such as https://example.com/unlocked.",
      );
    const detached =
      typeof lockExpirationInSeconds === "number" ? lockExpirationInSeconds * 1_000 : Number.NaN;
    if (!(detached >= END_MS_MIN && detached <= LIMITS.durationMsMax)) {
      throw invalid(
        `lockExpirationInSeconds is a number of seconds from ${END_MS_MIN / 1_000} to ten years.`,
      );
    }
    const leases: Lease[] = [];
    try {
      for (const name of allNames(names)) {
        const terms = acquireTerms(name, { wait: waitTimeoutInMs, detached });
        leases.push(await this.#session.acquire({ ...terms, webhookUrl }, undefined));
      }
    } catch (error) {
      await Promise.allSettled(leases.map((lease) => lease.release()));
      throw error;
    }
    return true;
  }

  /**
   * The original call: frees detached locks by name, whoever made them.
   * @returns true when any of them was locked
   * @throws LockDBError `NOT_HELD` when one is held by a session or under a lease; ConnectionError when the server does not answer in time
   *
   * @example
   * const wasLocked = await locker.unlock("report");
   */
  async unlock(names: Name | readonly Name[], options: CallOptions = {}): Promise<boolean> {
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

  /**
   * The original call: whether anyone holds any of the locks. True of one that is closed after its hold, too.
   * @throws LockDBError `RECOVERING` when the server cannot know yet; ConnectionError when the server does not answer in time
   *
   * @example
   * if (await locker.check(["report", "export"])) console.log("busy");
   */
  async check(names: Name | readonly Name[], options: CallOptions = {}): Promise<boolean> {
    const { waitTimeoutInMs = CALL_MS_DEFAULT } = known(options, CALL_OPTIONS);
    const timeoutMs = span(waitTimeoutInMs, "waitTimeoutInMs");
    for (const name of allNames(names)) {
      if ((await this.#session.call(timeoutMs, (id) => ["check", id, name, timeoutMs])) === true) return true;
    }
    return false;
  }
}

const CLIENT_OPTIONS = new Set(["apiKey", "serverUrl", "lease", "owner", "tls", "tracer"]);
const LOCK_OPTIONS = new Set(["waitTimeoutInMs", "lockExpirationInSeconds", "unlockWebhookUrl"]);
const CALL_OPTIONS = new Set(["waitTimeoutInMs"]);
const PREFIX_OPTIONS = new Set(["prefix"]);
const LEAD_OPTIONS = new Set(["signal"]);

/** Does the work inside of the hold, and ends that. */
async function whileHeld<T>(lease: OwnLease, fn: (lease: Lease) => T | Promise<T>): Promise<T> {
  try {
    const result = await runInside(lease.enclosing, () => fn(lease));
    lease.assertNotLost();
    return result;
  } finally {
    // An unanswered release is no failure of the work: the lock ends with its lease at the latest.
    await lease.release().catch(() => false);
  }
}

/** The machine, with the certificates that were given. */
function machineWith(tls: TlsOptions | undefined): Runtime {
  try {
    return tls === undefined ? runtime : (runtime.secured?.(tls) ?? runtime);
  } catch (error) {
    throw invalid(`tls: ${(error as Error).message}.`);
  }
}

function allNames(names: string | readonly string[]): readonly string[] {
  const all = typeof names === "string" ? [names] : names;
  if (!Array.isArray(all) || all.length === 0) throw invalid("A lock name or a list of names is needed.");
  return all.map(checkedName);
}

function checkedToken(token: number): number {
  if (!Number.isSafeInteger(token) || token < 1) throw invalid("A token is an integer from 1.");
  return token;
}

/** It can be sent, and something will come of it. */
function isShortUrl(url: unknown): boolean {
  return typeof url === "string" && url.length <= LIMITS.webhookUrlBytesMax && URL.canParse(url);
}
