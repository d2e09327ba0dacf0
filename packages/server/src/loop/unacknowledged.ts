import type { ServerMessage } from "lockdb/protocol";
import { subjectOf } from "./server-messages.js";

/** What a client has received, of all that is remembered for it. */
export interface Acknowledged {
  readonly ids: readonly number[];
  readonly lostTokens: readonly number[];
}

const NOTHING: Acknowledged = { ids: [], lostTokens: [] };

/** What was sent on a connection and is not known to have arrived (Q6). */
export class Unacknowledged {
  /** What each of those messages is about, in order: see `subjectOf`. */
  #subjects: number[] = [];
  #received = 0;

  get count(): number {
    return this.#subjects.length;
  }

  add(message: ServerMessage): void {
    this.#subjects.push(subjectOf(message));
  }

  /** So many have arrived in all: those need not be kept any more. Null when that is more than were sent. */
  take(received: number): Acknowledged | null {
    const count = received - this.#received;
    if (count < 0 || count > this.#subjects.length) return null;
    if (count === 0) return NOTHING;
    const ids: number[] = [];
    const lostTokens: number[] = [];
    for (let at = 0; at < count; at++) {
      const subject = this.#subjects[at]!;
      if (subject > 0) ids.push(subject);
      else if (subject < 0) lostTokens.push(-subject);
    }
    if (count === this.#subjects.length) this.#subjects = [];
    else this.#subjects.splice(0, count);
    this.#received = received;
    return { ids, lostTokens };
  }
}
