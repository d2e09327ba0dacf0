import type { ServiceKey } from "./service.js";

/** Says of a service whether it is among those that are handed over. */
export type IsIn = (key: ServiceKey) => boolean;

interface HandOver {
  readonly isIn: IsIn;
  /** Number of the batch that has the last that is written of them here. */
  readonly batch: number;
  /** Told first: the place of its services is another now. */
  readonly over: () => void;
  readonly settle: (error: unknown) => void;
}

/** Services that go to another member: nothing of them is taken or answered while their last batch is on its way. */
export class HandOvers {
  /** In the order of their batches. */
  #all: HandOver[] = [];

  has(key: ServiceKey): boolean {
    return this.#all.some(({ isIn }) => isIn(key));
  }

  /** Resolves when they are over. Rejects when it is not known who will serve them. */
  add(isIn: IsIn, batch: number, over: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error: unknown) => (error === null ? resolve() : reject(error));
      this.#all.push({ isIn, batch, over, settle });
    });
  }

  /** Those whose last batch is flushed by now are over: calls for each. */
  flushed(batch: number, told: (isIn: IsIn) => void): void {
    while (this.#all.length > 0 && this.#all[0]!.batch <= batch) {
      const { isIn, over, settle } = this.#all.shift()!;
      over();
      told(isIn);
      settle(null);
    }
  }

  failed(error: unknown): void {
    const all = this.#all;
    this.#all = [];
    for (const { settle } of all) settle(error);
  }
}
