import {
  bytesOf,
  CODE,
  type Compare,
  type Etcd,
  type EtcdEntry,
  EtcdError,
  type EtcdMemberStatus,
  type Key,
  type Op,
  type RangeAnswer,
  type RangeQuery,
  type Txn,
  type TxnOutcome,
} from "../../src/store/etcd-api.js";

/** What becomes of a transaction. `lost`: it is applied, and nobody hears of it. `never`: it is not. `late`: when `applyLate` is called. */
export type Fate = "answered" | "lost" | "never" | "late";

interface Row {
  readonly key: Buffer;
  /** Null: deleted. */
  readonly value: Buffer | null;
  readonly revision: number;
}

/** etcd's rules in memory, one transaction at a time, with the fates that a test wants. It forgets no old revision. */
export class MemoryEtcd {
  #revision = 1;
  /** All that each key has been, in bytes that are letters. */
  readonly #rows = new Map<string, Row[]>();
  /** Their keys in order, until there is a new one. */
  #sorted: string[] | null = null;
  readonly #late: Txn[] = [];
  readonly txns: Txn[] = [];
  fate: (txn: Txn, number: number) => Fate = () => "answered";

  /** Another process's way to it. Once it has died its calls never end. */
  client(): Etcd & { die(): void } {
    let isDead = false;
    const never = () => new Promise<never>(() => {});
    return {
      txn: async (txn) => {
        await null;
        if (isDead) return never();
        this.txns.push(txn);
        const fate = this.fate(txn, this.txns.length);
        const outcome = fate === "answered" || fate === "lost" ? this.#apply(txn) : null;
        if (fate === "late") this.#late.push(txn);
        await null;
        if (isDead) return never();
        return fate === "answered" ? outcome! : { kind: "unknown", error: timeout() };
      },
      range: async (query) => {
        await null;
        return isDead ? never() : this.#range(query);
      },
      status: async (): Promise<EtcdMemberStatus[]> => [],
      watch: () => () => {},
      close: () => {},
      die: () => {
        isDead = true;
      },
    };
  }

  /** What was on its way arrives. */
  applyLate(): void {
    for (const txn of this.#late.splice(0)) this.#apply(txn);
  }

  get lateCount(): number {
    return this.#late.length;
  }

  #apply({ compare, ops: first, otherwise = [] }: Txn): TxnOutcome {
    const holds = compare.every((each) => this.#holds(each));
    const ops = holds ? first : otherwise;
    const gets: (readonly EtcdEntry[])[] = [];
    const changed = new Set<string>();
    const writes = ops.some((op) => !("get" in op));
    if (ops.length > 128 || compare.length > 128) throw new Error("too many operations");
    if (writes) this.#revision++;
    for (const op of ops) this.#do(op, gets, changed);
    return { kind: holds ? "applied" : "refused", revision: this.#revision, gets };
  }

  #do(op: Op, gets: (readonly EtcdEntry[])[], changed: Set<string>): void {
    if ("get" in op) {
      gets.push(this.#range({ ...op, key: op.get }).entries);
      return;
    }
    const keys =
      "put" in op
        ? [Buffer.from(bytesOf(op.put))]
        : this.#range({ ...op, key: op.delete }).entries.map(({ key }) => key);
    for (const key of keys) {
      const text = latin1(key);
      if (changed.has(text)) throw new Error("duplicate key given in txn request");
      changed.add(text);
      const value = "put" in op ? Buffer.from(op.value) : null;
      const rows = this.#rows.get(text);
      const row = { key, value, revision: this.#revision };
      if (rows === undefined) {
        this.#rows.set(text, [row]);
        this.#sorted = null;
      } else rows.push(row);
    }
  }

  #holds(compare: Compare): boolean {
    if ("value" in compare)
      return this.#range({ key: compare.key }).entries[0]?.value.equals(compare.value) === true;
    const { entries } = this.#range({ ...compare, limit: 0 });
    if (compare.end !== undefined) return entries.every(({ revision }) => revision === compare.revision);
    const [entry] = entries;
    return (entry?.revision ?? 0) === compare.revision;
  }

  #keysIn(first: string, last: string): readonly string[] {
    this.#sorted ??= [...this.#rows.keys()].sort();
    const sorted = this.#sorted;
    const placeOf = (text: string) => {
      let [low, high] = [0, sorted.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (sorted[middle]! < text) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    return sorted.slice(placeOf(first), placeOf(last));
  }

  #range({ key, end, limit = 0, ...query }: RangeQuery): RangeAnswer {
    const atRevision = query.atRevision || this.#revision;
    if (atRevision > this.#revision)
      throw new EtcdError(
        CODE.OUT_OF_RANGE,
        "etcdserver: mvcc: required revision is a future revision",
        "memory",
      );
    const first = latin1(key);
    const last = end === undefined ? null : latin1(end);
    const keys = last === null ? [first] : this.#keysIn(first, last);
    const all = keys.flatMap((each) => {
      const row = this.#rows.get(each)?.findLast(({ revision }) => revision <= atRevision);
      return row === undefined || row.value === null ? [] : [{ ...row, value: row.value }];
    });
    const entries = limit > 0 ? all.slice(0, limit) : all;
    return { entries, more: entries.length < all.length, revision: this.#revision };
  }
}

function latin1(key: Key): string {
  return Buffer.from(bytesOf(key)).toString("latin1");
}

function timeout(): EtcdError {
  return new EtcdError(CODE.DEADLINE_EXCEEDED, "Deadline exceeded", "memory");
}
