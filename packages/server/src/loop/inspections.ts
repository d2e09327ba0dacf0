/** Inspections on their way at once: their answers are long. */
const OPEN_MAX = 64;

/** A connection's inspections without an answer yet, by request id: nothing keeps a client from using one twice. */
export class Inspections {
  readonly #open = new Map<number, number>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count >= OPEN_MAX;
  }

  begun(id: number): void {
    this.#count++;
    this.#open.set(id, (this.#open.get(id) ?? 0) + 1);
  }

  /** A request has its answer, perhaps one of these. */
  answered(id: number): void {
    const count = this.#open.get(id);
    if (count === undefined) return;
    this.#count--;
    if (count === 1) this.#open.delete(id);
    else this.#open.set(id, count - 1);
  }
}
