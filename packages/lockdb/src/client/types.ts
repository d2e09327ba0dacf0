import type {
  DeadlockStep,
  Duration,
  EndedBy,
  HolderInfo,
  LockInfo,
  LockMode,
  Metadata,
  Previous,
  ServiceEvent,
  WaiterInfo,
} from "../protocol/index.js";
import type { TlsOptions } from "../runtime/runtime.js";
import type { Tracer } from "./tracer.js";

export type {
  DeadlockStep,
  Duration,
  EndedBy,
  HolderInfo,
  LockInfo,
  LockMode,
  Metadata,
  Previous,
  ServiceEvent,
  TlsOptions,
  Tracer,
  WaiterInfo,
};

/**
 * One lock name: any well-formed text of 1 to 512 bytes of UTF-8, without control characters. Compared byte for byte.
 *
 * @example
 * const name: Name = "invoice/42";
 */
export type Name = string;

/**
 * How a lock is wanted: with a mode, or as a part of a semaphore. Default: exclusive.
 *
 * @example
 * await locker.withLock("encoder", { permits: 4, weight: 2 }, encode);
 */
export interface LockSpec {
  /** `"shared"`: any number may have it together, and nobody exclusively beside them. Default `"exclusive"`. */
  readonly mode?: "exclusive" | "shared";
  /** A semaphore with so many permits, 1 to 1,000,000. All who ask for it must say the same number. Default: no semaphore. */
  readonly permits?: number;
  /** How many of the permits this request takes. Default 1. */
  readonly weight?: number;
}

/**
 * One name, or several at once: all of them are granted in one step, as one hold with one token, or none. A name may come
 * with its own kind of lock; plain names are of the kind that the options say. At most 64 names.
 *
 * @example
 * await locker.withLock(["account/7", { name: "rates", mode: "shared" }], transfer);
 */
export type Names = string | readonly (string | (LockSpec & { readonly name: string }))[];

/**
 * What happened to a lock, or `gap`: events may be missing here, so look again at what you need to know.
 *
 * @example
 * const say = (event: LockEvent) => (event.type === "gap" ? "look again" : `${event.type} ${event.names.join()}`);
 */
export type LockEvent = ServiceEvent | { readonly type: "gap" };

/**
 * Which locks: those whose names begin with `prefix`. Default: all.
 *
 * @example
 * for await (const lock of locker.list({ prefix: "invoice/" })) console.log(lock.name);
 */
export interface PrefixOptions {
  /** What their names begin with. Default: anything. */
  readonly prefix?: string;
}

/**
 * How to reach the server and who this client is. What is left out comes from the environment.
 *
 * @example
 * const options: LockDBOptions = { apiKey, serverUrl: ["https://locks1.internal", "https://locks2.internal"], owner: "billing-3" };
 */
export interface LockDBOptions {
  /** API key; else `LOCKDB_API_KEY`. */
  readonly apiKey?: string;
  /**
   * One address or several, tried in turn; else `LOCKDB_SERVER_URL` (commas between); else `http://127.0.0.1:5625`. Of a cluster one is enough to
   * begin with: that one tells of the others, which are tried behind these, and leads to the one that serves the service.
   */
  readonly serverUrl?: string | readonly string[];
  /** Lease of the session: how long the server keeps its locks without hearing from it. 1 s to 1 h; default `"10s"`. */
  readonly lease?: Duration;
  /** What others see as the holder's name. Default: host and process id. */
  readonly owner?: string;
  /** Certificates, for `https://` addresses. Default: those that the machine trusts. Browsers have their own, and ignore this. */
  readonly tls?: TlsOptions;
  /**
   * What `trace.getTracer()` of OpenTelemetry gives: it gets a span for each wait and each hold. Default: none, and no
   * work for it. See docs/tracing.md.
   */
  readonly tracer?: Tracer;
}

/**
 * What a request for a lock may say.
 *
 * @example
 * const options: AcquireOptions = { wait: "1m", maxHold: "20m", metadata: { order: 42 } };
 */
export interface AcquireOptions extends LockSpec {
  /** How long to stand in the queue; 0 asks once, `"forever"` until cancelled. Default `"30s"`. */
  readonly wait?: Duration | "forever";
  /** Gives the request up. The promise rejects with the signal's reason. Default: none. */
  readonly signal?: AbortSignal;
  /** Keeps the lock closed at least this long after the grant, even when it is released earlier. Default: not. */
  readonly minHold?: Duration;
  /** Ends the hold after this time at the latest, however alive the holder is. Default: not. */
  readonly maxHold?: Duration;
  /** A hold that outlives this client and lasts exactly this long. It is not renewed; anyone in the service may unlock it. Default: a hold of this client. */
  readonly detached?: Duration;
  /** Shown to whoever inspects the lock; at most 1 KiB as JSON. Default: nothing. */
  readonly metadata?: Metadata;
  /**
   * The lease that this request is made inside of, where that is not known by itself: for leases from `acquire`, and in
   * browsers. Such a request is refused as a deadlock when it could never be granted. Default: what is known by itself.
   */
  readonly within?: Lease;
  /** This work goes on by itself: nothing around it waits for it, though it was started there. Default false. */
  readonly independent?: boolean;
  /** Grants again what a lease around this has already, as the same hold. Default false: that is a deadlock. */
  readonly reentrant?: boolean;
}

/**
 * Options of the original `lock`.
 *
 * @example
 * await locker.lock("report", { lockExpirationInSeconds: 60, unlockWebhookUrl: "https://app.example.com/unlocked" });
 */
export interface LockOptions {
  /** How long to stand in the queue. Default 30,000. */
  readonly waitTimeoutInMs?: number;
  /** How long the lock is held unless it is unlocked. Default 300. */
  readonly lockExpirationInSeconds?: number;
  /**
   * Gets `POST {serviceId, lockName}` for each name, signed, when it is unlocked or its time is over. At least once, and
   * tried for a day. Default: nobody is called. See docs/webhooks.md.
   */
  readonly unlockWebhookUrl?: string;
}

/**
 * Options of the original `unlock` and `check`.
 *
 * @example
 * await locker.unlock("report", { waitTimeoutInMs: 1_000 });
 */
export interface CallOptions {
  /** How long to wait for the server's answer. Default 5,000; `unlock` waits 50,000 at most. */
  readonly waitTimeoutInMs?: number;
}

/**
 * A lock that is held. `await using` releases it at the end of its block.
 *
 * @example
 * await using lease = await locker.acquire("disk");
 * lease.onAtRisk((remainingMs) => console.warn("renewals fail, stopping in", remainingMs));
 * lease.onAsked((reason) => job.finishSoon(reason));
 * await job.run(lease.signal);
 * lease.assertHeld();
 * const wasHeld = await lease.release();
 */
export interface Lease extends AsyncDisposable {
  /** Greater than every token the service ever gave out before (F1). Check it where the protected data lives. */
  readonly token: number;
  /** The request's place in the order of arrival; undefined when it never had to wait. */
  readonly ticket: number | undefined;
  /** Aborts with a `LockLostError` when the hold can no longer be trusted, by this machine's own clocks (L5). */
  readonly signal: AbortSignal;
  /** How long the hold can still be trusted without news from the server, in milliseconds. */
  readonly remainingMs: number;
  /** The hold before this one, when it ended by expiry or force, else absent: it may have left work half done. */
  readonly previous?: Previous;
  /** Calls back once when renewals have been failing for half of the lease (L6). */
  onAtRisk(callback: (remainingMs: number) => void): void;
  /**
   * Calls back when an operator asks for the hold, with his reason: finish soon, and give it back. Whoever listens later is told
   * too. The hold stays as it is; it may be freed by force after a while.
   */
  onAsked(callback: (reason: string) => void): void;
  /**
   * Reads the clocks at the call, and asks nobody.
   * @throws LockLostError when the hold can no longer be trusted
   */
  assertHeld(): void;
  /**
   * Gives the lock back, and waits for the server.
   * @returns false when the hold was already over
   * @throws ConnectionError when the server does not answer in time: the lock ends with its lease
   */
  release(): Promise<boolean>;
}
