import type { ServerMessage } from "lockdb/protocol";

const GOING_AWAY = 1001;
const POLICY = 1008;

/** The last that is said on a connection. */
export type Ending = Extract<ServerMessage, readonly ["ended" | "moved", ...unknown[]]>;

/** With which code and reason a connection is closed. */
export function endOf([kind, code]: Ending): readonly [number, string] {
  if (kind === "moved") return [GOING_AWAY, "MOVED"];
  return [code === "UNAVAILABLE" ? GOING_AWAY : POLICY, code];
}

/** True for what a request is answered with. */
export function isAnswer(
  message: ServerMessage,
): message is Extract<ServerMessage, readonly ["granted" | "refused" | "done", ...unknown[]]> {
  return message[0] === "granted" || message[0] === "refused" || message[0] === "done";
}

/** A message that tells of more than a request. All others are so short that a frame's worth of them is no problem. */
export function mayBeLong(message: ServerMessage): boolean {
  if (message[0] === "event") return true;
  if (message[0] === "done") return typeof message[2] === "object" && message[2] !== null;
  return message[0] === "refused" && message[4] !== undefined;
}

/** What an acknowledgement of this message is about: a request's id, or, below 0, a token that was lost. 0: nothing. */
export function subjectOf(message: ServerMessage): number {
  if (isAnswer(message)) return message[1];
  return message[0] === "lost" ? -message[1] : 0;
}
