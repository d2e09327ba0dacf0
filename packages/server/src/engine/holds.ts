import { NumberMap } from "lockdb/protocol";
import type { PackedHolds } from "./packed-holds.js";
import type { Hold } from "./state.js";

/** The holds of a service, by their tokens. */
export class Holds {
  readonly #byToken = new NumberMap<Hold>();
  /** Those that a start has left as they were stored. Null: none, or none any more. */
  packed: PackedHolds | null = null;

  /** How many there are, packed or not. */
  get size(): number {
    return this.#byToken.size + (this.packed === null ? 0 : this.packed.size);
  }

  get(token: number): Hold | undefined {
    const hold = this.#byToken.get(token);
    if (hold !== undefined || this.packed === null) return hold;
    return this.packed.unpackByToken(token) ? this.#byToken.get(token) : undefined;
  }

  has(token: number): boolean {
    return this.get(token) !== undefined;
  }

  set(token: number, hold: Hold): void {
    this.#byToken.set(token, hold);
  }

  delete(token: number): void {
    this.#byToken.delete(token);
  }

  /** But for those that are packed. */
  values(): Iterable<Hold> {
    return this.#byToken.values();
  }
}
