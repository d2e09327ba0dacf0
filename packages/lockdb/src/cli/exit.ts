import { LockDBError } from "../client/errors.js";
import type { ErrorCode, HolderInfo } from "../protocol/index.js";
import { painter } from "./colour.js";
import { EXIT } from "./exit-codes.js";
import { holderText, jsonLine, printable } from "./words.js";

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
  write("red", errorText(error), errorObject(error), voice);
}

/** Says on standard error what is worth knowing though the work goes on. */
export function warn(message: string, voice: Voice): void {
  write("yellow", message, { warning: message }, voice);
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

function write(colour: "red" | "yellow", text: string, object: object, { command, json }: Voice): void {
  if (json) {
    process.stderr.write(`${jsonLine(object)}\n`);
    return;
  }
  const prefix = command === null ? "lockdb" : `lockdb ${command}`;
  process.stderr.write(`${painter(process.stderr)(colour, `${prefix}:`)} ${printable(text)}\n`);
}

function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof UsageError || error instanceof ExitError) return error.message;
  if (!(error instanceof LockDBError)) return error.stack ?? error.message;
  const name = error.name === "LockDBError" ? error.code : error.name;
  return `${name}: ${error.message}${holderSentence(error.details.holder)}`;
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
function holderSentence(holder: unknown): string {
  return typeof holder === "object" && holder !== null ? ` ${holderText(holder as HolderInfo)}` : "";
}
