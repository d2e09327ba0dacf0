import { ANSWER_KEPT_MS, type ServerMessage } from "lockdb/protocol";
import type { Hold, Session, StoredAnswer } from "./state.js";

/** Keeps an answer until the session has acknowledged it; it is given again when the request is (Q6). */
export function keepAnswer(session: Session, id: number, answer: StoredAnswer): void {
  session.answers.set(id, answer);
}

/**
 * Forgets what nobody acknowledged for a minute, but not the grant of a hold that still lives. Called with each new
 * answer, so it only ever looks at the oldest.
 */
export function sweepAnswers(session: Session, holds: ReadonlyMap<number, Hold>, nowMs: number): void {
  for (const [id, answer] of session.answers) {
    if (answer.atMs + ANSWER_KEPT_MS > nowMs) return;
    session.answers.delete(id);
    const { message } = answer;
    const lives = message === null || (message[0] === "granted" && holds.has(message[2]));
    if (lives) session.answers.set(id, { ...answer, atMs: nowMs });
  }
}

/** Another answer from now on, if this one is still kept. */
export function replaceAnswer(session: Session, id: number, message: ServerMessage): void {
  for (const answers of [session.answers, session.answersBefore]) {
    const stored = answers?.get(id);
    if (stored !== undefined) answers!.set(id, { ...stored, message });
  }
}
