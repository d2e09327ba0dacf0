// A nightly job that every host starts, and one does.

/**
 * @param journal keeps, for each day, that the work was done: a table of your database
 * @returns "done", or "done before" when another host was faster
 */
export async function nightly(locker, journal, day, work) {
  return await locker.withLock("cron/nightly", { wait: "1h", maxHold: "2h" }, async (lease) => {
    if (await journal.isDone(day)) return "done before";
    await work(lease);
    await journal.markDone(day, lease.token);
    return "done";
  });
}

/** For work that may be left out, such as filling a cache: whoever comes second goes home. */
export async function refresh(locker, work) {
  const lease = await locker.tryAcquire("cron/refresh", { minHold: "1m" });
  if (lease === null) return "somebody does it";
  try {
    await work(lease);
    return "done";
  } finally {
    await lease.release();
  }
}
