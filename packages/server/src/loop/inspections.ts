/** Inspections on their way at once: their answers are long. */
const OPEN_MAX = 64;

/** Most connections never look: these all have the same list. */
const NONE: readonly number[] = Object.freeze([]);

/** A connection's inspections without an answer yet, by request id: nothing keeps a client from using one twice. */
export class Inspections {
  #open: readonly number[] = NONE;

  get count(): number {
    return this.#open.length;
  }

  get isFull(): boolean {
    return this.#open.length >= OPEN_MAX;
  }

  begun(id: number): void {
    this.#open = [...this.#open, id];
  }

  /** A request has its answer, perhaps one of these. */
  answered(id: number): void {
    const at = this.#open.indexOf(id);
    if (at < 0) return;
    this.#open = this.#open.length === 1 ? NONE : this.#open.filter((_, index) => index !== at);
  }
}
