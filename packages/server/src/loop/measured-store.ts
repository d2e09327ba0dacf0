import type { Store } from "../store/index.js";
import type { ServerTotals } from "./server-totals.js";

/** The same store, with its commits counted and timed. */
export function measured(store: Store, totals: ServerTotals, monotonicMs: () => number): Store {
  return {
    load: (prefix, after) => store.load(prefix, after),
    close: () => store.close(),
    commit: async (batch) => {
      if (batch.length === 0) return store.commit(batch);
      const startedAtMs = monotonicMs();
      try {
        await store.commit(batch);
      } catch (error) {
        totals.storeFailures++;
        throw error;
      }
      totals.commitMs.observe(monotonicMs() - startedAtMs);
      totals.commitRecords.observe(batch.length);
    },
  };
}
