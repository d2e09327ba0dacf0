/** Something with an end. `heapIndex` belongs to the heap: -1 while it is in none. */
export interface Timed {
  dueMs: number;
  heapIndex: number;
}

/** A binary heap by `dueMs` whose members know their place, so that leaving it costs O(log n), not a search. */
export class Deadlines<T extends Timed> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The earliest end, or Infinity. */
  get nextMs(): number {
    return this.#heap[0]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  /** Puts an item in, or moves it when it is in already. */
  set(item: T, dueMs: number): void {
    item.dueMs = dueMs;
    if (item.heapIndex === -1) {
      item.heapIndex = this.#heap.length;
      this.#heap.push(item);
    }
    this.#down(this.#up(item.heapIndex));
  }

  delete(item: T): void {
    const at = item.heapIndex;
    if (at === -1) return;
    item.heapIndex = -1;
    const last = this.#heap.pop()!;
    if (last === item) return;
    this.#place(last, at);
    this.#down(this.#up(at));
  }

  /** Takes out the earliest item that is due, or undefined when none is. */
  takeDue(nowMs: number): T | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.dueMs > nowMs) return undefined;
    this.delete(first);
    return first;
  }

  #up(from: number): number {
    const item = this.#heap[from]!;
    let at = from;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = this.#heap[parentAt]!;
      if (parent.dueMs <= item.dueMs) break;
      this.#place(parent, at);
      at = parentAt;
    }
    this.#place(item, at);
    return at;
  }

  #down(from: number): void {
    const item = this.#heap[from]!;
    let at = from;
    for (;;) {
      let childAt = at * 2 + 1;
      if (childAt >= this.#heap.length) break;
      const right = this.#heap[childAt + 1];
      if (right !== undefined && right.dueMs < this.#heap[childAt]!.dueMs) childAt++;
      const child = this.#heap[childAt]!;
      if (child.dueMs >= item.dueMs) break;
      this.#place(child, at);
      at = childAt;
    }
    this.#place(item, at);
  }

  #place(item: T, at: number): void {
    this.#heap[at] = item;
    item.heapIndex = at;
  }
}
