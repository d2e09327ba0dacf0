import { LockDBError } from "../client/errors.js";
import type { ErrorCode } from "../protocol/index.js";

/** Exit codes (I4). From 64 on they are those of sysexits.h, as far as it has a fitting one. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 64,
  unreachable: 69,
  lost: 70,
  notAcquired: 75,
  refused: 77,
  notExecutable: 126,
  notFound: 127,
} as const;

/** The same for people, at the end of help texts. */
export const EXIT_HELP = `Exit codes:
  0   done
  1   any other error; also: \`lock\` did not get the lock in time
  64  wrong use of the command line
  69  the server could not be reached
  70  the lock was lost, or about to be, and the command was stopped
  75  \`run\` did not get the lock
  77  refused: API key missing, wrong or not entitled, or the trial has ended`;

/** The command line itself is wrong: exit code 64. */
export class UsageError extends Error {}

/** Ends the process with a code of its own. */
export class ExitError extends Error {
  readonly exitCode: number;

  /** @param message what to say on standard error; empty: nothing */
  constructor(exitCode: number, message = "") {
    super(message);
    this.exitCode = exitCode;
  }
}

/** How a command talks on standard error: for people, or one JSON object a line. */
export interface Voice {
  /** Such as `lock`; null before it is known. */
  readonly command: string | null;
  readonly json: boolean;
}

/** Says on standard error what went wrong, and leaves the exit code. */
export function fail(error: unknown, voice: Voice): void {
  process.exitCode = exitCodeOf(error, voice.command);
  if (error instanceof ExitError && error.message === "") return;
  write(errorText(error), errorObject(error), voice);
}

/** Says on standard error what is worth knowing though the work goes on. */
export function warn(message: string, voice: Voice): void {
  write(message, { warning: message }, voice);
}

function exitCodeOf(error: unknown, command: string | null): number {
  if (error instanceof ExitError) return error.exitCode;
  if (error instanceof UsageError) return EXIT.usage;
  return error instanceof LockDBError ? exitCodeOfRefusal(error.code, command) : EXIT.failed;
}

function exitCodeOfRefusal(code: ErrorCode, command: string | null): number {
  switch (code) {
    case "LOCK_TIMEOUT":
    case "RECOVERING":
    case "QUEUE_FULL":
    case "RATE_LIMITED":
    case "LIMIT_EXCEEDED":
      // The original's `lock` exits 1 (C6).
      return command === "run" ? EXIT.notAcquired : EXIT.failed;
    case "INVALID":
      return EXIT.usage;
    case "CONNECTION":
    case "UNAVAILABLE":
      return EXIT.unreachable;
    case "LOCK_LOST":
      return EXIT.lost;
    case "UNAUTHORIZED":
    case "FORBIDDEN":
    case "TRIAL_ENDED":
      return EXIT.refused;
    default:
      return EXIT.failed;
  }
}

function write(text: string, object: object, { command, json }: Voice): void {
  const prefix = command === null ? "lockdb" : `lockdb ${command}`;
  process.stderr.write(json ? `${JSON.stringify(object)}\n` : `${printable(`${prefix}: ${text}`)}\n`);
}

function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof UsageError || error instanceof ExitError) return error.message;
  if (!(error instanceof LockDBError)) return error.stack ?? error.message;
  const name = error.name === "LockDBError" ? error.code : error.name;
  return `${name}: ${error.message}${holderText(error.details.holder)}`;
}

function errorObject(error: unknown): object {
  if (error instanceof LockDBError) {
    const { code, message, retryable, details } = error;
    return { error: { code, message, retryable, details } };
  }
  const code: ErrorCode = error instanceof UsageError ? "INVALID" : "INTERNAL";
  const message = error instanceof Error ? error.message : String(error);
  return { error: { code, message, retryable: false, details: {} } };
}

/** Who has the lock, as a sentence to add. */
function holderText(holder: unknown): string {
  if (typeof holder !== "object" || holder === null) return "";
  const { owner, token, heldForMs, detached, expiresInMs } = holder as Record<string, unknown>;
  if (typeof owner !== "string" || typeof token !== "number" || typeof heldForMs !== "number") return "";
  if (detached === true && typeof expiresInMs === "number") {
    // Whoever locked it has probably ended since.
    return ` ${owner} locked it ${spanText(heldForMs)} ago, for another ${spanText(expiresInMs)} (token ${token}).`;
  }
  return ` ${owner} has held it for ${spanText(heldForMs)} (token ${token}).`;
}

/** A time span for people, in its two largest units. */
export function spanText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Owners and names come from others: what could steer a terminal or turn the text around is escaped. */
function printable(text: string): string {
  return text.replace(
    /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
