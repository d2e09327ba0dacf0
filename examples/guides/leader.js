// One of several equal processes plans the work; when it is gone, another one does.
import { setTimeout } from "node:timers/promises";

/** Runs until `signal` aborts. `plan` is called again and again, by the leader alone. */
export async function schedule(locker, { signal, plan, everyMs }) {
  try {
    await locker.lead("scheduler", { signal }, async (lease) => {
      // Whoever has led before may have left something half done.
      for (;;) {
        await plan(lease);
        await setTimeout(everyMs, undefined, { signal: lease.signal });
      }
    });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
