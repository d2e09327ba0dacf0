import { CLIENT_TEXTS, type ErrorCode, type RetryableCode } from "../protocol/index.js";

/**
 * Facts that go with an error, such as who holds the lock: `details.holder` of a time-out has `owner`, `token` and `expiresInMs`.
 *
 * @example
 * const holder = (error.details as { holder?: { owner: string } }).holder?.owner;
 */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** Of the error table, which the compiler compares with it: a web page need not load all of that. */
const RETRYABLE: Readonly<Record<RetryableCode, true>> = {
  LOCK_TIMEOUT: true,
  RECOVERING: true,
  UNAVAILABLE: true,
  QUEUE_FULL: true,
  RATE_LIMITED: true,
  LIMIT_EXCEEDED: true,
  CONNECTION: true,
};

/**
 * Every error of LockDB. `code` is stable; the message is for people and says the next step.
 *
 * @example
 * try {
 *   await locker.withLock("disk", encode);
 * } catch (error) {
 *   if (!(error instanceof LockDBError) || !error.retryable) throw error;
 *   console.warn(error.code, error.message);
 * }
 */
export class LockDBError extends Error {
  /** One of a table; see [its rows](http.md#refusals). */
  readonly code: ErrorCode;
  /** True when the same request may succeed later. */
  readonly retryable: boolean;
  /** Empty when there are none. */
  readonly details: ErrorDetails;

  /** Made by the client; for tests of code that handles one. */
  constructor(code: ErrorCode, message: string = textOf(code), details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    // Set by hand: a minifier renames classes.
    this.name = "LockDBError";
    this.code = code;
    this.retryable = Object.hasOwn(RETRYABLE, code);
    this.details = details;
  }
}

/**
 * The lock was not free in time. `details.holder` tells who has it. Its `name` is `TimeoutError`, as in the original client.
 *
 * @example
 * if (error instanceof LockTimeoutError) console.warn("busy", error.details.holder);
 */
export class LockTimeoutError extends LockDBError {
  /** Made by the client; for tests of code that handles one. */
  constructor(message?: string, details?: ErrorDetails) {
    super("LOCK_TIMEOUT", message, details);
    this.name = "TimeoutError";
  }
}

/**
 * The hold can no longer be trusted: `lease.signal` aborts with this, and `withLock` rejects with it. Somebody else may have the lock now.
 *
 * @example
 * if (error instanceof LockLostError) console.warn("stopped: ", error.message);
 */
export class LockLostError extends LockDBError {
  /** Made by the client; for tests of code that handles one. */
  constructor(message?: string, details?: ErrorDetails) {
    super("LOCK_LOST", message, details);
    this.name = "LockLostError";
  }
}

/**
 * The request could never be granted: it waits for itself. See docs/deadlocks.md.
 *
 * @example
 * if (error instanceof DeadlockError) console.error(error.cycle.join("\n"));
 */
export class DeadlockError extends LockDBError {
  /** Made by the client; for tests of code that handles one. */
  constructor(message?: string, details?: ErrorDetails) {
    super("DEADLOCK", message, details);
    this.name = "DeadlockError";
  }

  /** Who waits for whom, a line a step. */
  get cycle(): readonly string[] {
    return (this.details.cycle as readonly string[] | undefined) ?? [];
  }
}

/**
 * The API key is missing or wrong. What it is not entitled to is a LockDBError with the code `FORBIDDEN`.
 *
 * @example
 * if (error instanceof UnauthorizedError) console.error("Set LOCKDB_API_KEY.");
 */
export class UnauthorizedError extends LockDBError {
  /** Made by the client; for tests of code that handles one. */
  constructor(message?: string, details?: ErrorDetails) {
    super("UNAUTHORIZED", message, details);
    this.name = "UnauthorizedError";
  }
}

/**
 * The server could not be reached, for 5 s if it never was; or its answer never came.
 *
 * @example
 * if (error instanceof ConnectionError && error.mayHaveApplied) console.warn("look before you ask again");
 */
export class ConnectionError extends LockDBError {
  /** True when the request was sent and its answer never came: it may have been carried out. */
  readonly mayHaveApplied: boolean;

  /** Made by the client; for tests of code that handles one. */
  constructor(message?: string, mayHaveApplied = false, cause?: unknown) {
    super("CONNECTION", message, {}, cause);
    this.name = "ConnectionError";
    this.mayHaveApplied = mayHaveApplied;
  }
}

/** The class that belongs to a code. */
export function errorOf(code: ErrorCode, message?: string, details?: ErrorDetails): LockDBError {
  switch (code) {
    case "LOCK_TIMEOUT":
      return new LockTimeoutError(message, details);
    case "LOCK_LOST":
      return new LockLostError(message, details);
    case "DEADLOCK":
      return new DeadlockError(message, details);
    case "UNAUTHORIZED":
      return new UnauthorizedError(message, details);
    case "CONNECTION":
      return new ConnectionError(message);
    default:
      return new LockDBError(code, message, details);
  }
}

/** For an error without a text. A server sends one with each of its refusals. */
function textOf(code: ErrorCode): string {
  const texts: Partial<Record<ErrorCode, string>> = CLIENT_TEXTS;
  return texts[code] ?? `This was refused with the code ${code}.`;
}
