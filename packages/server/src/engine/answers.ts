import { ANSWER_KEPT_MS, type ServerMessage } from "lockdb/protocol";
import type { Holds } from "./holds.js";
import type { Session, StoredAnswer } from "./state.js";

/** All of them are looked at each time, and there may be a million. */
const SWEEP_MS = ANSWER_KEPT_MS / 6;

/** Keeps an answer until the session has acknowledged it; it is given again when the request is (Q6). */
export function keepAnswer(session: Session, id: number, answer: StoredAnswer): void {
  session.answers.set(id, answer);
}

/**
 * Forgets what nobody acknowledged for a minute, but not the grant of a hold that still lives. Called with each new
 * answer, it looks once in a while.
 */
export function sweepAnswers(session: Session, holds: Holds, nowMs: number): void {
  if (nowMs < session.sweepAtMs) return;
  session.sweepAtMs = nowMs + SWEEP_MS;
  const over = [...session.answers].filter(([, { atMs }]) => atMs + ANSWER_KEPT_MS <= nowMs);
  for (const [id, answer] of over) {
    const { message } = answer;
    const lives = message === null || (message[0] === "granted" && holds.has(message[2]));
    if (lives) session.answers.set(id, { ...answer, atMs: nowMs });
    else session.answers.delete(id);
  }
}

/** Another answer from now on, if this one is still kept. */
export function replaceAnswer(session: Session, id: number, message: ServerMessage): void {
  for (const answers of [session.answers, session.answersBefore]) {
    const stored = answers?.get(id);
    if (stored !== undefined) answers!.set(id, { ...stored, message });
  }
}
