// What docs/deadlocks.md shows, as it is tested.
import { setTimeout } from "node:timers/promises";
import { DeadlockError } from "lockdb";

export async function move(locker, from, to, carry) {
  const lease = await locker.acquire(from);
  try {
    return await locker.withLock(to, { within: lease }, carry);
  } finally {
    await lease.release();
  }
}

export async function save(locker, order, write, report) {
  return await locker.withLock(`order/${order}`, async () => {
    await write();
    // Not awaited: it may begin when this lock is free again.
    void locker.withLock(`order/${order}`, { independent: true }, report);
  });
}

export async function close(locker, order, write, print) {
  await locker.withLock(`order/${order}`, async () => {
    await write();
    await label(locker, order, print);
  });
}

/** Called with the order's lock held, and without. */
export async function label(locker, order, print) {
  await locker.withLock(`order/${order}`, { reentrant: true }, print);
}

export async function moveAtOnce(locker, from, to, carry) {
  return await locker.withLock([from, to], carry);
}

/** @param work takes its locks itself, and may be begun again; not called with a lock held */
export async function tryingAgain(work, tries = 10) {
  for (let failures = 1; ; failures++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DeadlockError) || failures === tries) throw error;
      await setTimeout(Math.random() * 20 * failures);
    }
  }
}
