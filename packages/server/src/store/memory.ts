import { StoreClosedError } from "./errors.js";
import { encodeBatch, encodePrefix } from "./keys.js";
import type { Change, Entry, Store } from "./store.js";

/** A store for tests and for `--store memory`: it keeps every promise of a store but that of outliving the process. */
export function openMemoryStore(): Store {
  return new MemoryStore();
}

class MemoryStore implements Store {
  readonly #valueByKey = new Map<string, Uint8Array>();
  #isClosed = false;

  async *load(prefix: string, after = ""): AsyncGenerator<Entry> {
    encodePrefix(prefix);
    const afterBytes = encodePrefix(after);
    this.#assertOpen();
    // Values are never changed, only replaced: holding them is a snapshot.
    const rows = [...this.#valueByKey]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => ({ key, value, keyBytes: Buffer.from(key, "utf8") }))
      .filter(({ keyBytes }) => keyBytes.compare(afterBytes) > 0)
      .sort((a, b) => a.keyBytes.compare(b.keyBytes));
    for (const { key, value } of rows) {
      yield { key, value: value.slice() };
      this.#assertOpen();
    }
  }

  async commit(batch: readonly Change[]): Promise<void> {
    this.#assertOpen();
    encodeBatch(batch).forEach(({ value }, index) => {
      const { key } = batch[index]!;
      if (value === null) {
        this.#valueByKey.delete(key);
      } else {
        // A copy of its own: one long-lived record must not keep the memory of its whole batch.
        this.#valueByKey.set(key, value.slice());
      }
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #assertOpen(): void {
    if (this.#isClosed) {
      throw new StoreClosedError();
    }
  }
}
