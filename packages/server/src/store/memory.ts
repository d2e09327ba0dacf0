import { type Block, blocksOf, entriesIn } from "./block.js";
import { StoreClosedError } from "./errors.js";
import { encodeBatch, encodePrefix } from "./keys.js";
import type { Change, Entries, Store } from "./store.js";

/**
 * A store for tests and for `--store memory`: it keeps every promise of a store but that of outliving the process.
 * @param looks whether what is said to be new is looked at, so that tests and the simulator hear when it is not. A server has better things to do: here nothing
 *   comes of it, and a commit that is refused ends everything that is under way
 */
export function openMemoryStore({ looks = true }: { readonly looks?: boolean } = {}): Store {
  return new MemoryStore(looks);
}

class MemoryStore implements Store {
  readonly #valueByKey = new Map<string, Uint8Array>();
  readonly #looks: boolean;
  #isClosed = false;

  constructor(looks: boolean) {
    this.#looks = looks;
  }

  load(prefix: string, after = ""): Entries {
    return entriesIn(
      () => this.#blocks(prefix, after),
      () => this.#assertOpen(),
    );
  }

  async *#blocks(prefix: string, after: string): AsyncGenerator<Block> {
    encodePrefix(prefix);
    const afterBytes = encodePrefix(after);
    this.#assertOpen();
    // Values are never changed, only replaced: holding them is a snapshot.
    const rows = [...this.#valueByKey]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => ({ key: Buffer.from(key, "utf8"), value }))
      .filter(({ key }) => key.compare(afterBytes) > 0)
      .sort((a, b) => a.key.compare(b.key));
    for (const block of blocksOf(rows)) {
      yield block;
      this.#assertOpen();
    }
  }

  async commit(batch: readonly Change[]): Promise<void> {
    this.#assertOpen();
    const encoded = encodeBatch(batch);
    if (this.#looks) this.#assertNew(batch);
    encoded.forEach(({ value }, index) => {
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

  #assertNew(batch: readonly Change[]): void {
    const isThere = new Map<string, boolean>();
    for (const { key, value, isNew } of batch) {
      if (isNew && (isThere.get(key) ?? this.#valueByKey.has(key)))
        throw new TypeError(`The store has something under the new key ${JSON.stringify(key)}.`);
      isThere.set(key, value !== null);
    }
  }

  #assertOpen(): void {
    if (this.#isClosed) {
      throw new StoreClosedError();
    }
  }
}
