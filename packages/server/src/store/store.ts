import type { Block } from "./block.js";

/**
 * Durable state: a sorted map of small records, changed in atomic batches. This is the only seam between one machine
 * and many. What every implementation promises, and the contract suite checks:
 *
 * - `commit` resolves only when the whole batch would survive a power cut (disk) or is agreed (quorum). It rejects
 *   whole. After a failed commit the outcome is unknown until the store is opened anew: until then every call but `close`
 *   rejects.
 * - A batch that breaks a limit is refused with a TypeError before anything is written; the store goes on.
 * - Batches are applied in the order of the calls. Callers keep one commit in flight at a time.
 * - Within a batch the last change of a key wins.
 * - The store keeps copies: what a caller does to its values after `commit` was called, or to loaded ones, changes nothing.
 * - `load` gives the committed entries whose key begins with the prefix, in ascending order of their UTF-8 bytes, as they
 *   were when the iteration began, and never holds them all in memory if they are on a disk.
 * - `close` waits for what is in flight. After it every call rejects, iterations under way too; closing again does not.
 */
export interface Store {
  /**
   * Committed entries below a prefix; the empty prefix gives all.
   * @param after only those behind this key, which begins with the prefix and may be gone
   */
  load(prefix: string, after?: string): Entries;
  /** Applies the batch, all or nothing. An empty batch resolves. */
  commit(batch: readonly Change[]): Promise<void>;
  close(): Promise<void>;
}

/** One by one, or in blocks: both begin when they are first asked for the next. */
export interface Entries extends AsyncIterable<Entry> {
  /** The same, many at a time. None is empty. */
  blocks(): AsyncIterable<Block>;
}

/** Keys are 1 to 1,024 bytes of well-formed UTF-8 without control characters and begin with their account. */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
}

/** A put, or a delete when the value is null. Deleting what is absent is no error. */
export interface Change {
  readonly key: string;
  readonly value: Uint8Array | null;
  /** With a put: there is nothing under this key. A store may then forget it together with its deletion, so it must be true. */
  readonly isNew?: boolean;
}
