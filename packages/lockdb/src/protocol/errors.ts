import { CLIENT_TEXTS } from "./client-texts.js";

/** One row of the error table: HTTP status, whether asking again can help, and what to do next. */
export interface ErrorRow {
  /** Status over HTTP; `null` for errors that only a client makes. */
  readonly status: number | null;
  readonly retryable: boolean;
  /** The default message. It ends with the next step. */
  readonly message: string;
}

/** The table of part E of SPEC.md. Every interface, the docs and the client's classes come from it. */
export const ERRORS = {
  LOCK_TIMEOUT: row(423, true, "The lock was not free in time. Try again, or wait longer."),
  NOT_HELD: row(409, false, "This hold is over, or was never yours. Stop the work it protected."),
  LOCK_LOST: row(
    409,
    false,
    "The lock can no longer be trusted. Stop the work it protected, then ask again.",
  ),
  DEADLOCK: row(409, false, "This request could never be granted. Release what you hold, then ask again."),
  PERMITS_MISMATCH: row(
    409,
    false,
    "The lock is in use with another number of permits. Use the same number.",
  ),
  REQUEST_ID_REUSED: row(
    409,
    false,
    "This request id was used before. Use a new, higher id for a new request.",
  ),
  SESSION_ENDED: row(409, false, "The session is over, and so are its locks. Open a new session."),
  RECOVERING: row(503, true, "The server is waiting for its clients to return. Try again soon."),
  UNAVAILABLE: row(503, true, "The server cannot take requests now. Try again soon."),
  QUEUE_FULL: row(429, true, "Too many requests wait for this lock. Try again later."),
  RATE_LIMITED: row(429, true, "Too many requests. Slow down, then try again."),
  LIMIT_EXCEEDED: row(429, true, "A limit of this account is reached. Release something, then try again."),
  INVALID: row(400, false, "The request is not valid. Correct it before sending it again."),
  TOO_LARGE: row(413, false, "The request is too large. Send less at once."),
  UNAUTHORIZED: row(401, false, CLIENT_TEXTS.UNAUTHORIZED),
  FORBIDDEN: row(403, false, "This API key may not do that. Use a key with the scope and service it needs."),
  TRIAL_ENDED: row(403, false, "The trial has ended. Held locks can be released; ask the operator to go on."),
  NOT_FOUND: row(404, false, "There is no such thing here. Check the address or the id."),
  INTERNAL: row(500, false, "The server made a mistake. Look at its log."),
  CONNECTION: row(
    null,
    true,
    "The server could not be reached. Check its address and that it runs, then try again.",
  ),
  CLOSED: row(null, false, CLIENT_TEXTS.CLOSED),
} as const satisfies Record<string, ErrorRow>;

/**
 * What an error is, for programs: a code stays, its message may change.
 *
 * @example
 * const isBusy = (code: ErrorCode) => code === "LOCK_TIMEOUT" || code === "QUEUE_FULL";
 */
export type ErrorCode = keyof typeof ERRORS;

/** Codes of the rows that say so. */
export type RetryableCode = {
  [Code in ErrorCode]: (typeof ERRORS)[Code]["retryable"] extends true ? Code : never;
}[ErrorCode];

/** True for a string that names a row of the table. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERRORS, value);
}

function row<R extends boolean>(
  status: number | null,
  retryable: R,
  message: string,
): ErrorRow & { readonly retryable: R } {
  return { status, retryable, message };
}
