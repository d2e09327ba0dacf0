/** So many entries come to a generation at least, before it is closed. */
const GENERATION_MIN = 4_096;

/** Closing a generation moves what is left of it, in one step. */
const GENERATION_MAX = 65_536;

/**
 * A `Map` for entries that come and go all the time, in the order in which they came. V8's own links each hash table that it
 * has outgrown to the next one; once the collector has come to take one for old, all that was ever put into later ones
 * stays until a full collection. So what comes goes to a young map, which is left for a new one before it gets old. The few
 * entries that are still there then wait in a map of their own for one generation more, and only then move to the old one:
 * in a large `Map` each key that comes and goes leaves a trace, which whoever asks for that key has to pass until the
 * table is built anew. Both sides of the protocol keep requests and holds so (decision 011). No value is `undefined`.
 */
export class ChurnMap<K, V> {
  #young = new Map<K, V>();
  /** What was left of the last generation; null: nothing. */
  #left: Map<K, V> | null = null;
  /** What was left of those before it. Null as long as there is nothing. */
  #old: Map<K, V> | null = null;
  #room = GENERATION_MIN;

  get size(): number {
    return this.#young.size + (this.#left?.size ?? 0) + (this.#old?.size ?? 0);
  }

  get(key: K): V | undefined {
    let value = this.#young.get(key);
    if (value === undefined && this.#left !== null) value = this.#left.get(key);
    if (value === undefined && this.#old !== null) value = this.#old.get(key);
    return value;
  }

  has(key: K): boolean {
    return this.get(key) !== undefined;
  }

  set(key: K, value: V): void {
    if (this.#old?.has(key)) this.#old.set(key, value);
    else if (this.#left?.has(key)) this.#left.set(key, value);
    else this.add(key, value);
  }

  /** The same for a key that is known not to be there. */
  add(key: K, value: V): void {
    this.#young.set(key, value);
    if (--this.#room === 0) this.#closeGeneration();
  }

  /** The same for one that will stay, and comes before all that will not: it goes to where the old ones are. */
  addLasting(key: K, value: V): void {
    this.#old ??= new Map();
    this.#old.set(key, value);
  }

  delete(key: K): boolean {
    return this.#young.delete(key) || this.#left?.delete(key) || this.#old?.delete(key) || false;
  }

  /** In the order in which they came. Nothing may be added until the end. */
  *[Symbol.iterator](): IterableIterator<[K, V]> {
    if (this.#old !== null) yield* this.#old;
    if (this.#left !== null) yield* this.#left;
    yield* this.#young;
  }

  *values(): IterableIterator<V> {
    if (this.#old !== null) yield* this.#old.values();
    if (this.#left !== null) yield* this.#left.values();
    yield* this.#young.values();
  }

  #closeGeneration(): void {
    for (const [key, value] of this.#left ?? []) this.addLasting(key, value);
    const { size } = this.#young;
    this.#left = size === 0 ? null : new Map(this.#young);
    this.#young = new Map();
    this.#room = Math.min(GENERATION_MAX, GENERATION_MIN + 4 * size);
  }
}
