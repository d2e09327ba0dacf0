import { ERRORS, type ErrorCode, type GrantExtra, type Previous, type ServerMessage } from "lockdb/protocol";
import type { Effects } from "./commands.js";
import { holderInfo } from "./inspect.js";
import type { Lock } from "./lock.js";
import type { Session } from "./state.js";

/** Says something to a session, if it can be reached now. */
export function tell(session: Session, message: ServerMessage, out: Effects): void {
  if (session.address !== null) out.answers.push({ to: session.address, message });
}

export function ended(
  address: string,
  code: ErrorCode,
  out: Effects,
  message: string = ERRORS[code].message,
): void {
  out.answers.push({ to: address, message: ["ended", code, message] });
}

export function grantedMessage(
  id: number,
  token: number,
  { ticket = null, previous, reentrant = false, expiresInMs }: GrantFacts = {},
): ServerMessage {
  if (ticket === null && previous === undefined && !reentrant) return ["granted", id, token];
  const extra: { -readonly [K in keyof GrantExtra]: GrantExtra[K] } = {};
  if (ticket !== null) extra.ticket = ticket;
  if (previous !== undefined) extra.previous = previous;
  if (reentrant) extra.reentrant = reentrant;
  if (expiresInMs !== undefined) extra.expiresInMs = expiresInMs;
  return ["granted", id, token, extra];
}

interface GrantFacts {
  readonly ticket?: number | null;
  readonly previous?: Previous | undefined;
  readonly reentrant?: boolean;
  readonly expiresInMs?: number;
}

export function refusal(id: number, code: ErrorCode, message: string = ERRORS[code].message): ServerMessage {
  return ["refused", id, code, message];
}

/** The answer of a request whose hold was freed by force before its holder heard of it. */
export function forcedMessage(id: number): ServerMessage {
  return refusal(
    id,
    "LOCK_LOST",
    "The lock was granted, and freed by force before you heard of it. Ask again.",
  );
}

export function refuse(
  command: { readonly id: number; readonly address: string },
  code: ErrorCode,
  out: Effects,
): void {
  out.answers.push({ to: command.address, message: refusal(command.id, code) });
}

/** How much of a cycle the message itself tells; the details have all of it. */
const CYCLE_LENGTH_MAX = 2_000;

/** A refusal of what would wait for itself (D2). */
export function deadlockMessage(id: number, cycle: readonly string[]): ServerMessage {
  const steps = cycle.join("; ");
  const shown = steps.length > CYCLE_LENGTH_MAX ? `${steps.slice(0, CYCLE_LENGTH_MAX)}…` : steps;
  const message = `This request would wait for itself. ${shown}. Release what you hold, then ask again.`;
  return ["refused", id, "DEADLOCK", message, { cycle }];
}

/** A refusal of locks that tells who is in the way, so that nobody has to ask twice. */
export function refusalOfLock(
  id: number,
  code: ErrorCode,
  locks: readonly { readonly lock: Lock | undefined }[],
  nowMs: number,
  message: string = ERRORS[code].message,
): ServerMessage {
  const held = (locks.find(({ lock }) => lock?.firstGrip != null) ?? locks[0])?.lock;
  const grip = held?.firstGrip ?? null;
  const holder = grip === null ? null : holderInfo(grip.hold, grip.mode, nowMs);
  return ["refused", id, code, message, { holder, ahead: held?.waiterCount ?? 0 }];
}
