import { ERRORS, type ErrorCode, type Previous, type ServerMessage } from "lockdb/protocol";
import type { Effects } from "./commands.js";
import { holderInfo } from "./inspect.js";
import type { Lock, Session } from "./state.js";

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
  ticket: number | null = null,
  previous?: Previous,
): ServerMessage {
  if (ticket === null && previous === undefined) return ["granted", id, token];
  const extra = {
    ...(ticket === null ? {} : { ticket }),
    ...(previous === undefined ? {} : { previous }),
  };
  return ["granted", id, token, extra];
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

/** A refusal of a lock that tells who is in the way, so that nobody has to ask twice. */
export function refusalOfLock(
  id: number,
  code: ErrorCode,
  lock: Lock | undefined,
  nowMs: number,
  message: string = ERRORS[code].message,
): ServerMessage {
  const hold = lock?.hold ?? null;
  const holder = hold === null ? null : holderInfo(hold, nowMs);
  return ["refused", id, code, message, { holder, ahead: lock?.waiterCount ?? 0 }];
}
