/** A connection's watches. Most connections have none, so what they are kept in is made with the first. */
export class OpenWatches {
  #ids: Set<number> | null = null;
  /** Watches of which events were left out, and the positions of the last of them. */
  #leftOut: Map<number, string> | null = null;

  get size(): number {
    return this.#ids?.size ?? 0;
  }

  get ids(): Iterable<number> {
    return this.#ids ?? [];
  }

  add(id: number): void {
    this.#ids ??= new Set();
    this.#ids.add(id);
  }

  delete(id: number): void {
    this.#ids?.delete(id);
    this.#leftOut?.delete(id);
  }

  clear(): void {
    this.#ids = null;
    this.#leftOut = null;
  }

  /** True while events are left out, until all watches are told so. */
  get isBehind(): boolean {
    return this.#leftOut !== null && this.#leftOut.size > 0;
  }

  leaveOut(id: number, position: string): void {
    this.#leftOut ??= new Map();
    this.#leftOut.set(id, position);
  }

  /** What was left out, for the last time. */
  takeLeftOut(): Iterable<readonly [id: number, position: string]> {
    const leftOut = this.#leftOut ?? [];
    this.#leftOut = null;
    return leftOut;
  }
}
