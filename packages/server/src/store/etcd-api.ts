/**
 * What is asked of etcd, and what may come of it. The client (etcd-client.ts) is one that does it; tests and simulators have others.
 */
export interface Etcd {
  /**
   * One transaction, tried at one member after the other as long as it is certain that it was not applied. Never rejects, and is never sent
   * again once nobody knows.
   */
  txn(txn: Txn, options?: CallOptions): Promise<TxnOutcome>;
  /**
   * A linearizable read, tried at one member after the other. Released versions of etcd may answer with an old state: decide nothing by it that a
   * transaction with the same facts in its `compare` does not confirm; or read `atRevision` of a transaction of your own.
   * @throws EtcdError
   */
  range(query: RangeQuery, options?: CallOptions): Promise<RangeAnswer>;
  /** How each member is, asked by itself. Never rejects. */
  status(options?: CallOptions): Promise<readonly EtcdMemberStatus[]>;
  /**
   * Tells that something below a prefix may have changed, and also whenever the stream is made anew. A hint: some are lost, some come
   * twice or late.
   * @param onHint given what is said to be there now; empty: not known
   * @returns ends it
   */
  watch(prefix: Key, onHint: (entries: readonly EtcdEntry[]) => void): () => void;
  /** Ends all connections. What is in flight fails. */
  close(): void;
}

/** Text stands for its bytes in UTF-8. */
export type Key = string | Uint8Array;

export interface CallOptions {
  /** For each attempt, in milliseconds. Default: 1,000. */
  readonly timeoutMs?: number;
}

/** The number of an etcd-wide change. It can go back when a member crashes in a bad moment or a snapshot is restored: never a token. */
export type Revision = number;

/**
 * True of a key that was changed last at that revision (0: that is absent), or that has that value now. With an `end`: of each key from the one up to
 * the other, so that revision 0 says that there is none.
 */
export type Compare =
  | { readonly key: Key; readonly end?: Key; readonly revision: Revision }
  | { readonly key: Key; readonly value: Uint8Array };

/** In a transaction: each key at most once among puts and deletions. */
export type Op =
  | { readonly put: Key; readonly value: Uint8Array }
  | { readonly delete: Key; readonly end?: Key }
  /** `atRevision`: as it was then, told behind this transaction: not old, since that went through etcd's log. */
  | { readonly get: Key; readonly end?: Key; readonly limit?: number; readonly atRevision?: Revision };

export interface Txn {
  readonly compare: readonly Compare[];
  readonly ops: readonly Op[];
  readonly otherwise?: readonly Op[];
}

export type TxnOutcome =
  /** All compared true, and `ops` were done; or not, and `otherwise` were. `gets`: one for each get, in their order. */
  | ({ readonly kind: "applied" } & TxnAnswer)
  | ({ readonly kind: "refused" } & TxnAnswer)
  /** Certainly nothing was done. */
  | { readonly kind: "not-applied"; readonly error: EtcdError }
  /** It was sent, and may be done now, later, or never. */
  | { readonly kind: "unknown"; readonly error: EtcdError };

export interface TxnAnswer {
  readonly revision: Revision;
  readonly gets: readonly (readonly EtcdEntry[])[];
}

export interface EtcdEntry {
  readonly key: Buffer;
  readonly value: Buffer;
  /** When the key was changed last. */
  readonly revision: Revision;
}

export interface RangeQuery {
  readonly key: Key;
  /** The first key that is not wanted. Absent: only `key`. */
  readonly end?: Key;
  /** How many at most. Default: all. */
  readonly limit?: number;
  /** As of that revision. Default: now. */
  readonly atRevision?: Revision;
}

export interface RangeAnswer {
  readonly entries: readonly EtcdEntry[];
  /** There are others behind the last one. */
  readonly more: boolean;
  readonly revision: Revision;
}

export interface EtcdMemberStatus {
  readonly endpoint: string;
  /** What is wrong: it does not answer, has no leader, or an alarm. Null: nothing. */
  readonly problem: string | null;
  /** Of etcd, such as 3.4.23. Null: it did not answer. */
  readonly version: string | null;
  readonly isLeader: boolean;
  /** Of its file, and of what is used of it. */
  readonly bytes: number;
  readonly bytesInUse: number;
}

/** gRPC's codes, as far as they are told apart. */
export const CODE = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  OUT_OF_RANGE: 11,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/** What etcd, or the way to it, answered. */
export class EtcdError extends Error {
  override readonly name = "EtcdError";
  /** gRPC's. */
  readonly code: number;
  readonly endpoint: string;

  constructor(code: number, details: string, endpoint: string) {
    super(`etcd at ${endpoint}: ${details}`);
    this.code = code;
    this.endpoint = endpoint;
  }

  /** Another member, or the same one later, may well answer otherwise. */
  get isTransient(): boolean {
    return TRANSIENT.has(this.code) || / (no leader|too many requests)/.test(this.message);
  }
}

const TRANSIENT: ReadonlySet<number> = new Set([CODE.CANCELLED, CODE.DEADLINE_EXCEEDED, CODE.UNAVAILABLE]);

/** The first key behind all that begin so. */
export function endOf(prefix: Key): Uint8Array {
  const bytes = Buffer.from(bytesOf(prefix));
  for (let at = bytes.length - 1; at >= 0; at--) {
    if (bytes[at]! === 0xff) continue;
    bytes[at]!++;
    return bytes.subarray(0, at + 1);
  }
  // To the end of all.
  return Buffer.of(0);
}

export function bytesOf(key: Key): Uint8Array {
  return typeof key === "string" ? Buffer.from(key, "utf8") : key;
}
