import type { ClientMessage, ListQuery, LockInfo, LockPage } from "../protocol/index.js";
import type { ClientSession } from "./session.js";

/** How long the server has to answer what it need not wait for. */
export const ANSWER_MS = 5_000;

/**
 * Who holds a lock and who waits for it.
 * @param token of the holder to be shown first, however many there are
 */
export async function inspectLock(session: ClientSession, name: string, token?: number): Promise<LockInfo> {
  const message = (id: number): ClientMessage =>
    token === undefined ? ["inspect", id, name] : ["inspect", id, name, token];
  return (await session.call(ANSWER_MS, message)) as LockInfo;
}

/**
 * All locks that are held or waited for, page by page.
 * @param first which locks, and how many on a page at most
 */
export async function* listLocks(
  session: ClientSession,
  first: { readonly prefix?: string; readonly limit?: number },
): AsyncGenerator<LockInfo, void, undefined> {
  const { limit } = first;
  let query: ListQuery = first;
  for (;;) {
    const asked = query;
    const page = (await session.call(ANSWER_MS, (id) => ["list", id, asked])) as LockPage;
    yield* page.locks;
    if (page.next === null) return;
    query = limit === undefined ? { next: page.next } : { next: page.next, limit };
  }
}
