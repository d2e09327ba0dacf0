import type { ClientMessage } from "../protocol/index.js";

interface Cancel {
  /** Of the grant that has come all the same. */
  token: number | null;
  /** How many answers are still to come on the present connection. */
  unanswered: number;
}

/** Requests that were given up: told to the server until it has confirmed, so that no grant of theirs stays (Q7). */
export class Cancels {
  readonly #byId = new Map<number, Cancel>();

  get size(): number {
    return this.#byId.size;
  }

  has(id: number): boolean {
    return this.#byId.has(id);
  }

  /** @returns what to say, if there is a connection */
  add(id: number, token: number | null = null): ClientMessage {
    const cancel = this.#byId.get(id) ?? { token: null, unanswered: 0 };
    cancel.token = token ?? cancel.token;
    cancel.unanswered++;
    this.#byId.set(id, cancel);
    return message(id, cancel);
  }

  answered(id: number): void {
    const cancel = this.#byId.get(id);
    if (cancel !== undefined && --cancel.unanswered <= 0) this.#byId.delete(id);
  }

  /** What a new connection says of all of them. */
  again(): readonly ClientMessage[] {
    return [...this.#byId].map(([id, cancel]) => {
      cancel.unanswered = 1;
      return message(id, cancel);
    });
  }

  clear(): void {
    this.#byId.clear();
  }
}

function message(id: number, { token }: Cancel): ClientMessage {
  return token === null ? ["cancel", id] : ["cancel", id, token];
}
