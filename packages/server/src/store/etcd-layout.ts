import type { MarkLayout } from "./etcd-mark.js";

/** Where a store has what, behind its prefix. */
export interface EtcdLayout {
  /** Says what the last transaction was. */
  readonly head: string;
  /** What the keys of pieces begin with. */
  readonly staged: string;
  /** Of a record. */
  keyOf(key: string): string;
  /** What is changed together with some records; null: nothing. Its places are as `keyOf` gives them. */
  readonly mark: MarkLayout | null;
  /** Where all records are whose keys begin so: what they begin with in etcd, and how many bytes of that are not the record's key. */
  rangesOf(prefix: string): readonly EtcdRange[];
}

export interface EtcdRange {
  readonly prefix: string;
  readonly outside: number;
  /** Others write there too: it is read as it is now, and not as of this store's last batch. */
  readonly isShared?: boolean;
}

const RECORDS = "records/";

/** One head, and all records together. */
export const PLAIN: EtcdLayout = {
  head: "head",
  staged: "staged/",
  keyOf: (key) => `${RECORDS}${key}`,
  mark: null,
  rangesOf: (prefix) => [{ prefix: `${RECORDS}${prefix}`, outside: RECORDS.length }],
};
