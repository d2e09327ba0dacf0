import { historyProblems, type LockHistory, type Op, TooLarge } from "./history.js";
import type { World } from "./world.js";

interface Unheard {
  readonly client: string;
  readonly calledMs: number;
  readonly returnedMs: number;
}

/** Writes down what clients saw, to be judged when the run is over. */
export class Recorder {
  readonly #world: World;
  readonly #ops: { readonly locks: readonly string[]; readonly op: () => Op | null }[] = [];
  readonly #unheard = new Map<Unheard, string>();
  /** Locks that are judged together, because sets have them in common: each has the name of another, or its own. */
  readonly #groups = new Map<string, string>();

  constructor(world: World) {
    this.#world = world;
  }

  /** An operation begins. Its facts are read at the end: until then nobody knows when its answer came, if ever. */
  add(locks: readonly string[], op: () => Op | null): void {
    this.#ops.push({ locks, op });
    for (const lock of locks) this.#groups.set(this.#groupOf(lock), this.#groupOf(locks[0]!));
  }

  /** A call for a detached hold begins. Until the returned function is called, it may have got one unheard. */
  addUnheard(lock: string, client: string): () => void {
    const span = { client, calledMs: this.#world.nowMs, returnedMs: Number.POSITIVE_INFINITY };
    this.#unheard.set(span, lock);
    return () => void this.#unheard.delete(span);
  }

  histories(): readonly LockHistory[] {
    const byGroup = new Map<string, { lock: string; ops: Op[]; unheard: Unheard[] }>();
    const of = (lock: string) => {
      const group = this.#groupOf(lock);
      const history = byGroup.get(group) ?? { lock: group, ops: [], unheard: [] };
      byGroup.set(group, history);
      return history;
    };
    for (const { locks, op } of this.#ops) {
      const made = op();
      if (made !== null) of(locks[0]!).ops.push(made);
    }
    for (const [span, lock] of this.#unheard) of(lock).unheard.push(span);
    return [...byGroup.values()];
  }

  /** @returns how many histories were too large to be judged. That proves nothing; the other checks looked at every step. */
  judge(): number {
    let unjudged = 0;
    for (const history of this.histories()) {
      try {
        for (const problem of historyProblems(history)) {
          this.#world.violate("Q1", problem, this.#together(history.lock));
        }
      } catch (error) {
        if (!(error instanceof TooLarge)) throw error;
        unjudged++;
      }
    }
    return unjudged;
  }

  /** All locks that are judged with this one. */
  #together(lock: string): readonly string[] {
    return [...this.#groups.keys()].filter((other) => this.#groupOf(other) === this.#groupOf(lock));
  }

  #groupOf(lock: string): string {
    const other = this.#groups.get(lock) ?? lock;
    return other === lock ? lock : this.#groupOf(other);
  }
}
