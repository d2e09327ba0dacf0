import type { ErrorCode, HolderInfo, LockInfo, WaiterInfo, WIRE_LIMITS } from "../protocol/index.js";
import type { Runtime } from "../runtime/runtime.js";
import type { LockDBError } from "./errors.js";
import type { HeldLease } from "./lease.js";
import type { AcquireTerms } from "./request.js";
import type { ClientSession } from "./session.js";
import { type WebLockRequest, webLockRequest, webNameOf } from "./web-lock-request.js";

/**
 * A lock that is held, as the callback of `request` sees it.
 *
 * @example
 * await locker.locks.request("monthly", (lock) => console.log(lock?.name, lock?.mode));
 */
export interface Lock {
  /** As it was asked for. */
  readonly name: string;
  /** As it was asked for. */
  readonly mode: "exclusive" | "shared";
}

/**
 * How a lock is wanted.
 *
 * @example
 * await locker.locks.request("monthly", { ifAvailable: true }, (lock) => lock !== null);
 */
export interface WebLockOptions {
  /** `"shared"`: any number may have it together, and nobody exclusively beside them. Default `"exclusive"`. */
  mode?: "exclusive" | "shared";
  /** Does not wait: the callback gets null when the lock is not free. Default false. */
  ifAvailable?: boolean;
  /** Takes the lock from whoever holds it, and comes before all who wait. Needs a key with the scope `force`. Default false. */
  steal?: boolean;
  /** Gives the request up while it waits; no effect once the lock is held. Default: none. */
  signal?: AbortSignal;
}

/**
 * A lock that is held or asked for. The standard calls it `LockInfo`.
 *
 * @example
 * const { held } = await locker.locks.query();
 * for (const { name, mode, clientId } of held) console.log(name, mode, clientId);
 */
export interface WebLockInfo {
  /** Of the lock. */
  name: string;
  /** Also `"shared"` for a part of a semaphore. */
  mode: "exclusive" | "shared";
  /** The `owner` of the client: clients that have the same one cannot be told apart by it. */
  clientId: string;
}

/**
 * Who has locks and who waits for them.
 *
 * @example
 * const { held, pending } = await locker.locks.query();
 */
export interface LockManagerSnapshot {
  /** In the order in which they were granted. */
  held: WebLockInfo[];
  /** In the order in which they were asked for. */
  pending: WebLockInfo[];
}

/**
 * The W3C `LockManager`, known as `navigator.locks`: https://w3c.github.io/web-locks/. docs/web-locks.md tells what differs.
 *
 * @example
 * const total = await locker.locks.request("monthly", { mode: "shared" }, () => read());
 */
export interface LockManager {
  /**
   * Waits for the lock, however long, and holds it while `callback` runs.
   *
   * @returns what `callback` returns, once the lock is released
   * @throws what `callback` throws; the reason of `options.signal`; TypeError; DOMException: `NotSupportedError`, `AbortError`
   *   when the lock was stolen or lost (`cause` is the LockLostError), `InvalidStateError` when the client is closed;
   *   LockDBError, such as `UNAUTHORIZED`, `FORBIDDEN`, `QUEUE_FULL`; ConnectionError when no server was ever reached (5 s)
   *   or, with `ifAvailable`, the server does not answer within 5 s
   *
   * @example
   * await locker.locks.request("monthly", async () => read());
   */
  request<T>(name: string, callback: (lock: Lock | null) => T): Promise<Awaited<T>>;
  request<T>(name: string, options: WebLockOptions, callback: (lock: Lock | null) => T): Promise<Awaited<T>>;
  /**
   * What is held and asked for in the service, also by means other than these. Put together from pages, it shows the newest
   * hundred holders and first hundred waiters of each lock; and while the server recovers from a crash, what it knows yet.
   * @throws DOMException `InvalidStateError` when the client is closed; LockDBError; ConnectionError
   *
   * @example
   * const { held, pending } = await locker.locks.query();
   */
  query(): Promise<LockManagerSnapshot>;
}

const PAGE_MAX: typeof WIRE_LIMITS.listMax = 500;
/** Holders, or waiters, that a list shows of a lock. Of more `inspect` tells. */
const LISTED_MAX = 10;
const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 1_000;

/**
 * The Web Locks surface of a session. In a browser it is loaded when it is used first. So it imports nothing of what the page has
 * already but types, and asks the session: what both parts import, bundlers put into a third.
 */
export class WebLocks implements LockManager {
  readonly #session: ClientSession;
  /** Whether the service takes a name as it is. */
  readonly #isPlain = (name: string): boolean => this.#session.look.isLockName(name);

  constructor(session: ClientSession) {
    this.#session = session;
  }

  get [Symbol.toStringTag](): string {
    return "LockManager";
  }

  request<T>(name: string, callback: (lock: Lock | null) => T): Promise<Awaited<T>>;
  request<T>(name: string, options: WebLockOptions, callback: (lock: Lock | null) => T): Promise<Awaited<T>>;
  async request(name: string, optionsOrCallback: unknown, ...rest: readonly unknown[]): Promise<unknown> {
    const request = webLockRequest(name, [optionsOrCallback, ...rest], this.#isPlain);
    const { mode, signal, callback } = request;
    const lease = await this.#acquire(request);
    if (lease === null) return callback(null);
    if (signal?.aborted) {
      // In the very turn of the grant, of which nobody has heard yet.
      void lease.release().catch(() => false);
      throw signal.reason;
    }
    return holding(this.#session.runtime, lease, () => callback(new GrantedLock(request.name, mode)));
  }

  async query(): Promise<LockManagerSnapshot> {
    const infoOf = (wireName: string, { mode, owner }: HolderInfo | WaiterInfo): WebLockInfo => ({
      name: webNameOf(wireName, this.#isPlain),
      mode: mode === "exclusive" ? mode : "shared",
      clientId: owner,
    });
    const locks = await this.#look().catch(rethrow);
    const held = locks.flatMap(({ name, holders }) =>
      holders
        .filter(({ state }) => state === "held")
        .map((holder) => ({ order: holder.token, info: infoOf(name, holder) })),
    );
    const pending = locks.flatMap(({ name, queue }) =>
      queue.map((waiter) => ({ order: waiter.ticket, info: infoOf(name, waiter) })),
    );
    return { held: inOrder(held), pending: inOrder(pending) };
  }

  /** @returns null when it is not available */
  async #acquire(request: WebLockRequest): Promise<HeldLease | null> {
    const { wireName, mode, ifAvailable, steal, signal } = request;
    const terms: AcquireTerms = {
      names: mode === "shared" ? [[wireName, mode]] : wireName,
      waitMs: ifAvailable ? 0 : Number.POSITIVE_INFINITY,
      detachedMs: null,
      minHoldMs: null,
      maxHoldMs: null,
      metadata: null,
      leads: false,
      enclosing: [],
      reentrant: false,
      webhookUrl: null,
      steal,
    };
    for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(PAUSE_MS_MAX, 2 * pauseMs)) {
      try {
        // Not one inside of another: it is not reentrant.
        return (await this.#session.acquire(terms, signal)) as HeldLease;
      } catch (error) {
        // Its own reason, whatever that is.
        if (signal?.aborted) throw error;
        if (ifAvailable && hasCode(error, "LOCK_TIMEOUT")) return null;
        // What cannot wait is refused then, and code for `navigator.locks` knows no server that recovers.
        if (!hasCode(error, "RECOVERING")) rethrow(error);
      }
      const { runtime } = this.#session;
      await new Promise<void>((resolve) => {
        runtime.setTimer(resolve, pauseMs * (0.5 + runtime.random() / 2), true);
      });
    }
  }

  async #look(): Promise<readonly LockInfo[]> {
    const byName = new Map<string, LockInfo>();
    try {
      for await (const lock of this.#session.look.list({ limit: PAGE_MAX })) {
        const isCut = lock.holders.length >= LISTED_MAX || lock.queueLength > lock.queue.length;
        // One that was freed and taken again meanwhile comes on a later page, too, and is as it is there.
        byName.set(lock.name, isCut ? await this.#session.look.inspect(lock.name) : lock);
      }
    } catch (error) {
      // The server has forgotten a list that was begun: it has restarted, or we were asleep.
      if (byName.size > 0 && hasCode(error, "NOT_FOUND")) return this.#look();
      throw error;
    }
    return [...byName.values()];
  }
}

class GrantedLock implements Lock {
  readonly #name: string;
  readonly #mode: Lock["mode"];

  constructor(name: string, mode: Lock["mode"]) {
    this.#name = name;
    this.#mode = mode;
  }

  get name(): string {
    return this.#name;
  }

  get mode(): Lock["mode"] {
    return this.#mode;
  }

  get [Symbol.toStringTag](): string {
    return "Lock";
  }
}

/** Runs `work` and releases its lock afterwards. Rejects as soon as the lock is lost, though `work` may go on. */
async function holding({ context }: Runtime, lease: HeldLease, work: () => unknown): Promise<unknown> {
  const { signal } = lease;
  const lost = new Promise<never>((_, reject) => {
    const lose = () => reject(domException("AbortError", signal.reason));
    if (signal.aborted) lose();
    else signal.addEventListener("abort", lose, { once: true });
  });
  let result: unknown;
  try {
    const running = signal.aborted ? lost : context.run(lease.enclosing, async () => work());
    result = await Promise.race([lost, running]);
    assertNotLost(lease);
  } catch (error) {
    await lease.release().catch(() => false);
    throw error;
  }
  // An unanswered release is no loss: the lock ends with its lease at the latest.
  const wasHeld = await lease.release().catch(() => true);
  if (wasHeld) return result;
  throw domException("AbortError", lease.lossBecause("it was over before it was released"));
}

/** The timer that aborts the signal may be late: a blocked event loop fires none. */
function assertNotLost(lease: HeldLease): void {
  try {
    lease.assertNotLost();
  } catch (error) {
    throw domException("AbortError", error as LockDBError);
  }
}

function hasCode(error: unknown, code: ErrorCode): error is LockDBError {
  return (error as Partial<LockDBError> | null)?.code === code;
}

/** A client that is closed is what the standard calls a document that is not active any more. */
function rethrow(error: unknown): never {
  throw hasCode(error, "CLOSED") ? domException("InvalidStateError", error) : error;
}

function inOrder(all: { readonly order: number; readonly info: WebLockInfo }[]): WebLockInfo[] {
  return all.sort((a, b) => a.order - b.order).map(({ info }) => info);
}

function domException(name: string, cause: LockDBError): DOMException {
  const error = new DOMException(cause.message, name);
  return Object.defineProperty(error, "cause", { value: cause, configurable: true, writable: true });
}
