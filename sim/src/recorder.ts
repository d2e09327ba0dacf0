import { historyProblems, type LockHistory, type Op, TooLarge } from "./history.js";
import type { World } from "./world.js";

interface Recorded {
  readonly ops: (() => Op | null)[];
  readonly unheard: Set<{ client: string; calledMs: number; returnedMs: number }>;
}

/** Writes down what clients saw, to be judged when the run is over. */
export class Recorder {
  readonly #world: World;
  readonly #byLock = new Map<string, Recorded>();

  constructor(world: World) {
    this.#world = world;
  }

  /** An operation begins. Its facts are read at the end: until then nobody knows when its answer came, if ever. */
  add(lock: string, op: () => Op | null): void {
    this.#of(lock).ops.push(op);
  }

  /** A call for a detached hold begins. Until the returned function is called, it may have got one unheard. */
  addUnheard(lock: string, client: string): () => void {
    const { unheard } = this.#of(lock);
    const span = { client, calledMs: this.#world.nowMs, returnedMs: Number.POSITIVE_INFINITY };
    unheard.add(span);
    return () => void unheard.delete(span);
  }

  histories(): readonly LockHistory[] {
    return [...this.#byLock].map(([lock, { ops, unheard }]) => ({
      lock,
      ops: ops.map((op) => op()).filter((op) => op !== null),
      unheard: [...unheard],
    }));
  }

  /** @returns how many histories were too large to be judged. That proves nothing; the other checks looked at every step. */
  judge(): number {
    let unjudged = 0;
    for (const history of this.histories()) {
      try {
        for (const problem of historyProblems(history)) this.#world.violate("Q1", problem, history.lock);
      } catch (error) {
        if (!(error instanceof TooLarge)) throw error;
        unjudged++;
      }
    }
    return unjudged;
  }

  #of(lock: string): Recorded {
    let recorded = this.#byLock.get(lock);
    if (recorded === undefined) {
      recorded = { ops: [], unheard: new Set() };
      this.#byLock.set(lock, recorded);
    }
    return recorded;
  }
}
