import type { Runtime } from "../runtime/runtime.js";
import type { LockDBError } from "./errors.js";
import type { HeldLease } from "./lease.js";
import type { Lease } from "./types.js";

/** Between attempts that fail although they may succeed later, such as a full queue. Doubles from one to the other. */
const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 10_000;

/**
 * Runs `fn` whenever this client leads, until `fn` ends while it does, fails, or `signal` aborts.
 * @param acquire stands in the queue for the leader's lock, without end
 */
export async function lead(
  runtime: Runtime,
  acquire: () => Promise<HeldLease>,
  signal: AbortSignal | undefined,
  fn: (lease: Lease) => Promise<void>,
): Promise<void> {
  for (let failures = 0; ; ) {
    let lease: HeldLease;
    try {
      lease = await acquire();
      failures = 0;
    } catch (error) {
      signal?.throwIfAborted();
      // Only its type: of what a page loads twice, bundlers make a file of its own.
      if ((error as Partial<LockDBError> | null)?.retryable !== true) throw error;
      await pause(runtime, Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** failures++), signal);
      continue;
    }
    if (await hasLed(lease, signal, fn)) return;
  }
}

/** One time as the leader. False: it was lost, and is to be won again. */
async function hasLed(
  lease: HeldLease,
  signal: AbortSignal | undefined,
  fn: (lease: Lease) => Promise<void>,
): Promise<boolean> {
  const stop = () => lease.stop(signal!.reason);
  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop, { once: true });
  try {
    await fn(lease);
    signal?.throwIfAborted();
    lease.assertNotLost();
    return true;
  } catch (error) {
    signal?.throwIfAborted();
    if (!lease.isLost) throw error;
    return false;
  } finally {
    signal?.removeEventListener("abort", stop);
    await lease.release().catch(() => false);
  }
}

/** Waits for half of `ms` to all of it. @throws the signal's reason */
function pause(runtime: Runtime, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      timer.cancel();
      signal?.removeEventListener("abort", done);
      if (signal?.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = runtime.setTimer(done, ms * (0.5 + runtime.random() / 2), true);
    signal?.addEventListener("abort", done, { once: true });
  });
}
