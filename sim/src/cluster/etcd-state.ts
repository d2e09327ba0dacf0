import {
  bytesOf,
  CODE,
  type Compare,
  type EtcdEntry,
  EtcdError,
  type Key,
  type Op,
  type RangeAnswer,
  type RangeQuery,
  type Txn,
  type TxnOutcome,
} from "../../../packages/server/dist/store/etcd-api.js";

/** What a key was from some transaction on. */
interface Row {
  /** In the one order of all transactions. */
  readonly order: number;
  /** The number that etcd shows: it may go back. */
  readonly revision: number;
  /** Null: deleted. */
  readonly value: Buffer | null;
}

interface Keyed {
  readonly key: Buffer;
  readonly rows: Row[];
}

/** So many older states of a key are kept, for ranges that show what was. */
const ROWS_MAX = 8;
const OPS_MAX = 128;
/** How far the shown revision goes back at most. */
const BACK_MAX = 40;

/** Called for each change, in the one order of all transactions. @param before what the key had; null: it was absent */
export type OnChange = (key: string, value: Buffer | null, before: Buffer | null) => void;

/** What is in etcd: its transactions are done one after the other. */
export class EtcdState {
  onChange: OnChange = () => {};
  /** Whose transaction is done now; null: nobody's. */
  author: string | null = null;
  readonly #byKey = new Map<string, Keyed>();
  /** All keys that are or were there, in order. */
  #sorted: string[] = [];
  #order = 1;
  #shown = 1;
  /** The order that a shown number stood for last. */
  readonly #orderOf = new Map<number, number>();

  get order(): number {
    return this.#order;
  }

  /**
   * @param back by how much the shown revision goes back before it
   * @param older what only reads does not go through etcd's log, and may show what was so many transactions ago
   */
  apply({ compare, ops: first, otherwise = [] }: Txn, back = 0, older = 0): TxnOutcome {
    const reads = [...first, ...otherwise].every((op) => "get" in op);
    const order = this.#order - (reads ? older : 0);
    const holds = compare.every((each) => this.#holds(each, order));
    const ops = holds ? first : otherwise;
    if (compare.length > OPS_MAX || first.length > OPS_MAX || otherwise.length > OPS_MAX)
      throw new Error("simulated: etcd takes 128 operations and conditions in a transaction");
    if (ops.some((op) => !("get" in op))) {
      this.#shown = Math.max(1, this.#shown - Math.min(back, BACK_MAX)) + 1;
      this.#orderOf.set(this.#shown, ++this.#order);
    }
    const now = this.#order;
    const gets: (readonly EtcdEntry[])[] = [];
    const changed = new Set<string>();
    for (const op of ops) {
      if ("get" in op) gets.push(this.#gotten(op, reads ? order : now));
      else this.#do(op, changed);
    }
    return { kind: holds ? "applied" : "refused", revision: this.#shown, gets };
  }

  #gotten({ get, ...query }: Extract<Op, { readonly get: Key }>, order: number): readonly EtcdEntry[] {
    if (query.atRevision !== undefined) return this.range({ key: get, ...query }).entries;
    return this.#found(get, query.end, query.limit, order).entries;
  }

  /** @param older shows what was so many transactions ago */
  range({ key, end, limit = 0, atRevision }: RangeQuery, older = 0): RangeAnswer {
    let order = this.#order - older;
    if (atRevision !== undefined && atRevision > 0) {
      const known = this.#orderOf.get(atRevision);
      if (known === undefined) throw new EtcdError(CODE.OUT_OF_RANGE, "simulated: no such revision", "sim");
      order = known;
    }
    return this.#found(key, end, limit, order);
  }

  #found(key: Key, end: Key | undefined, limit = 0, order = this.#order): RangeAnswer {
    const found: EtcdEntry[] = [];
    let more = false;
    for (const text of this.#keysIn(key, end)) {
      const { key: bytes, rows } = this.#byKey.get(text)!;
      const row = rows.findLast((each) => each.order <= order) ?? null;
      if (row === null || row.value === null) continue;
      if (limit > 0 && found.length === limit) {
        more = true;
        break;
      }
      found.push({ key: bytes, value: row.value, revision: row.revision });
    }
    return { entries: found, more, revision: this.#shown };
  }

  /** What a key has now. */
  valueOf(key: string): Buffer | null {
    return this.#byKey.get(key)?.rows.at(-1)?.value ?? null;
  }

  /** All keys that are there now. */
  keys(): string[] {
    return this.#sorted.filter((key) => this.valueOf(key) !== null);
  }

  #holds(compare: Compare, order: number): boolean {
    if ("end" in compare && compare.end !== undefined) {
      const { entries } = this.#found(compare.key, compare.end, 0, order);
      return entries.every(({ revision }) => revision === compare.revision);
    }
    const row = this.#byKey.get(textOf(compare.key))?.rows.findLast((each) => each.order <= order);
    const value = row?.value ?? null;
    if ("value" in compare) return value?.equals(compare.value) === true;
    return (value === null ? 0 : row!.revision) === compare.revision;
  }

  #do(op: Exclude<Op, { readonly get: Key }>, changed: Set<string>): void {
    if ("put" in op) this.#change(textOf(op.put), Buffer.from(op.value), changed);
    else for (const text of this.#keysIn(op.delete, op.end)) this.#change(text, null, changed);
  }

  #change(text: string, value: Buffer | null, changed: Set<string>): void {
    const before = this.valueOf(text);
    if (value === null && before === null) return;
    if (changed.has(text)) throw new Error(`simulated: a transaction changes ${text} twice`);
    changed.add(text);
    let keyed = this.#byKey.get(text);
    if (keyed === undefined) {
      keyed = { key: Buffer.from(text), rows: [] };
      this.#byKey.set(text, keyed);
      this.#sorted.splice(this.#placeOf(text), 0, text);
    }
    keyed.rows.push({ order: this.#order, revision: this.#shown, value });
    if (keyed.rows.length > ROWS_MAX) keyed.rows.shift();
    this.onChange(text, value, before);
  }

  #keysIn(key: Key, end?: Key): string[] {
    const first = textOf(key);
    if (end === undefined) return this.#byKey.has(first) ? [first] : [];
    return this.#sorted.slice(this.#placeOf(first), this.#placeOf(textOf(end)));
  }

  /** Where a key is, or would be. */
  #placeOf(text: string): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#sorted[middle]! < text) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** All keys here are ASCII. */
function textOf(key: Key): string {
  return typeof key === "string" ? key : Buffer.from(bytesOf(key)).toString("latin1");
}
