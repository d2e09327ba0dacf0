const CAPACITY_MIN = 16;

/** So many numbers in a row lie side by side: as many as a line of the processor's cache holds. */
const GROUP_BITS = 3;
const GROUP = 1 << GROUP_BITS;

/** So far from where it belongs a number may lie at most. Nobody whose numbers only rise comes near it. */
const PROBES_MAX = 256;

/**
 * A map from positive safe integers, such as tokens and request ids, in no order. Open addressing with linear probing and
 * backward-shift deletion (Knuth, TAOCP 3, 6.4, algorithm R): what was deleted leaves nothing behind, so it is never built
 * anew but to grow or shrink, and numbers that were given out one after the other hardly collide. It is several times as
 * fast as a `Map` for entries that come and go (decision 011). Numbers that were chosen to collide end up in a `Map`; those
 * that were chosen to lie side by side, as one long cluster, are not looked through to its end. No value is `undefined`.
 */
export class NumberMap<V> {
  #keys: number[] = new Array(CAPACITY_MIN).fill(0);
  #values: (V | undefined)[] = new Array(CAPACITY_MIN).fill(undefined);
  #mask = CAPACITY_MIN - 1;
  /** To as many bits of a hash as there are groups. */
  #shift = Math.clz32(CAPACITY_MIN / GROUP - 1);
  #size = 0;
  /** Since it was built. It shrinks late: who comes and goes in crowds would build it anew each time. */
  #deletions = 0;
  /** Instead of all that, once somebody has chosen his numbers badly. */
  #instead: Map<number, V> | null = null;

  get size(): number {
    return this.#instead === null ? this.#size : this.#instead.size;
  }

  get(key: number): V | undefined {
    if (this.#instead !== null) return this.#instead.get(key);
    const at = this.#find(key);
    return at < 0 ? undefined : this.#values[at];
  }

  has(key: number): boolean {
    return this.get(key) !== undefined;
  }

  set(key: number, value: V): void {
    if (this.#instead !== null) {
      this.#instead.set(key, value);
      return;
    }
    const at = this.#find(key);
    if (at >= 0) this.#values[at] = value;
    else {
      if (4 * (this.#size + 1) > 3 * this.#mask) this.#resize(2 * (this.#mask + 1));
      this.#insert(key, value);
    }
  }

  delete(key: number): boolean {
    if (this.#instead !== null) return this.#instead.delete(key);
    let hole = this.#find(key);
    if (hole < 0) return false;
    const keys = this.#keys;
    const values = this.#values;
    const mask = this.#mask;
    for (let at = (hole + 1) & mask; keys[at] !== 0; at = (at + 1) & mask) {
      // None from further on belongs so far back.
      if (((at - hole) & mask) > PROBES_MAX) break;
      // It may go back to the hole unless that is before the slot where it belongs.
      if (((at - this.#slotOf(keys[at]!)) & mask) < ((at - hole) & mask)) continue;
      keys[hole] = keys[at]!;
      values[hole] = values[at];
      hole = at;
    }
    keys[hole] = 0;
    values[hole] = undefined;
    this.#size--;
    if (++this.#deletions > 2 * mask && mask >= CAPACITY_MIN && 8 * this.#size < mask)
      this.#resize((mask + 1) / 2);
    return true;
  }

  *[Symbol.iterator](): IterableIterator<[number, V]> {
    if (this.#instead !== null) {
      yield* this.#instead;
      return;
    }
    const keys = this.#keys;
    const values = this.#values;
    for (let at = 0; at < keys.length; at++) if (keys[at] !== 0) yield [keys[at]!, values[at]!];
  }

  /** Nothing may be added or deleted until the end. */
  *values(): IterableIterator<V> {
    for (const [, value] of this) yield value;
  }

  #slotOf(key: number): number {
    // The high half counts, too: a safe integer has 53 bits.
    const hash = Math.imul((key >>> GROUP_BITS) ^ ((key / 0x1_0000_0000) | 0), 0x9e37_79b1);
    return ((hash >>> this.#shift) << GROUP_BITS) | (key & (GROUP - 1));
  }

  /** Where a key is; below 0 when it is not there. */
  #find(key: number): number {
    const keys = this.#keys;
    let at = this.#slotOf(key);
    for (let left = PROBES_MAX; keys[at] !== 0 && left >= 0; left--) {
      if (keys[at] === key) return at;
      at = (at + 1) & this.#mask;
    }
    return -1;
  }

  #insert(key: number, value: V): void {
    const keys = this.#keys;
    let at = this.#slotOf(key);
    let probes = 0;
    while (keys[at] !== 0) {
      at = (at + 1) & this.#mask;
      if (++probes > PROBES_MAX) return this.#give(key, value);
    }
    keys[at] = key;
    this.#values[at] = value;
    this.#size++;
  }

  #resize(capacity: number): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = new Array(capacity).fill(0);
    this.#values = new Array(capacity).fill(undefined);
    this.#mask = capacity - 1;
    this.#shift = Math.clz32(capacity / GROUP - 1);
    this.#size = 0;
    this.#deletions = 0;
    for (let at = 0; at < keys.length; at++) {
      if (keys[at] === 0) continue;
      if (this.#instead !== null) this.#instead.set(keys[at]!, values[at]!);
      else this.#insert(keys[at]!, values[at]!);
    }
  }

  #give(key: number, value: V): void {
    this.#instead = new Map(this);
    this.#instead.set(key, value);
    this.#keys = [];
    this.#values = [];
  }
}
