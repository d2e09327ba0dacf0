import { ERRORS, type ErrorCode } from "../protocol/index.js";

/** Facts that go with an error, such as who holds the lock. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** Every error of LockDB. `code` is stable; the message is for people and says the next step. */
export class LockDBError extends Error {
  readonly code: ErrorCode;
  /** True when the same request may succeed later. */
  readonly retryable: boolean;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    message: string = ERRORS[code].message,
    details: ErrorDetails = {},
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    // Set by hand: a minifier renames classes.
    this.name = "LockDBError";
    this.code = code;
    this.retryable = ERRORS[code].retryable;
    this.details = details;
  }
}

/** The lock was not free in time. `details.holder` tells who has it. */
export class LockTimeoutError extends LockDBError {
  constructor(message?: string, details?: ErrorDetails) {
    super("LOCK_TIMEOUT", message, details);
    this.name = "TimeoutError";
  }
}

/** The hold can no longer be trusted. */
export class LockLostError extends LockDBError {
  constructor(message?: string, details?: ErrorDetails) {
    super("LOCK_LOST", message, details);
    this.name = "LockLostError";
  }
}

/** The request could never be granted: it waits for itself. */
export class DeadlockError extends LockDBError {
  constructor(message?: string, details?: ErrorDetails) {
    super("DEADLOCK", message, details);
    this.name = "DeadlockError";
  }

  /** Who waits for whom, a line a step. */
  get cycle(): readonly string[] {
    return (this.details.cycle as readonly string[] | undefined) ?? [];
  }
}

/** The API key is missing or wrong. */
export class UnauthorizedError extends LockDBError {
  constructor(message: string = ERRORS.UNAUTHORIZED.message, details?: ErrorDetails) {
    super("UNAUTHORIZED", message, details);
    this.name = "UnauthorizedError";
  }
}

/** The server could not be reached. */
export class ConnectionError extends LockDBError {
  /** True when the request was sent and its answer never came: it may have been carried out. */
  readonly mayHaveApplied: boolean;

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
