import {
  type ClientMessage,
  type ListQuery,
  type LockInfo,
  type LockPage,
  lockNameProblem,
} from "../protocol/index.js";
import type { ClientSession } from "./session.js";

/** How long the server has to answer what it need not wait for. */
export const ANSWER_MS = 5_000;

/** What a session can see of its service's locks. */
export class Look {
  readonly #session: ClientSession;

  constructor(session: ClientSession) {
    this.#session = session;
  }

  /**
   * Who holds a lock and who waits for it.
   * @param token of the holder to be shown first, however many there are
   */
  async inspect(name: string, token?: number): Promise<LockInfo> {
    const message = (id: number): ClientMessage =>
      token === undefined ? ["inspect", id, name] : ["inspect", id, name, token];
    return (await this.#session.call(ANSWER_MS, message)) as LockInfo;
  }

  /**
   * All locks that are held or waited for, page by page.
   * @param first which locks, and how many on a page at most
   */
  async *list(first: {
    readonly prefix?: string;
    readonly limit?: number;
  }): AsyncGenerator<LockInfo, void, undefined> {
    const { limit } = first;
    let query: ListQuery = first;
    for (;;) {
      const asked = query;
      const page = (await this.#session.call(ANSWER_MS, (id) => ["list", id, asked])) as LockPage;
      yield* page.locks;
      if (page.next === null) return;
      query = limit === undefined ? { next: page.next } : { next: page.next, limit };
    }
  }

  /** Whether a lock can have this name (N1). */
  isLockName(name: string): boolean {
    return lockNameProblem(name) === null;
  }
}
