interface Placed {
  readonly dueMs: number;
  readonly order: number;
}

/** Earliest first; of two at one time, the one that was added first. */
export class Heap<T extends Placed> {
  readonly #items: T[] = [];

  get first(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = items[parentAt]!;
      if (!isBefore(item, parent)) break;
      items[at] = parent;
      at = parentAt;
    }
    items[at] = item;
  }

  pop(): T | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (first === undefined || last === undefined || items.length === 0) return first;
    let at = 0;
    for (;;) {
      let childAt = at * 2 + 1;
      if (childAt >= items.length) break;
      if (childAt + 1 < items.length && isBefore(items[childAt + 1]!, items[childAt]!)) childAt++;
      if (!isBefore(items[childAt]!, last)) break;
      items[at] = items[childAt]!;
      at = childAt;
    }
    items[at] = last;
    return first;
  }
}

function isBefore(a: Placed, b: Placed): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}
