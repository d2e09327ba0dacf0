import type { ClientMessage, ServerMessage } from "../protocol/index.js";
import type { LockDBError } from "./errors.js";
import type { Moment } from "./trust.js";

/** An answer that settles a request. */
export type FinalAnswer = Extract<ServerMessage, readonly ["granted" | "done" | "refused", ...unknown[]]>;

/** A request on its way: sent again under the same id until its answer is known (Q6). */
export interface Request {
  readonly id: number;
  readonly kind: "acquire" | "read" | "change" | "heartbeat";
  /** When its caller stops waiting for it; Infinity for never. */
  readonly deadline: number;
  /** The message as it would be sent now: waits get shorter. */
  readonly message: (request: Request) => ClientMessage;
  readonly settle: (answer: FinalAnswer) => void;
  readonly fail: (error: LockDBError) => void;
  /** A moment before it was sent, on the present connection. */
  sentAt: Moment | null;
  wasSent: boolean;
  ticket: number | null;
}
