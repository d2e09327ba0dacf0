import type { ServiceKey } from "./service.js";

/** Says of a service whether it is among those that are handed over. */
export type IsIn = (key: ServiceKey) => boolean;

/** One that is under way. */
export interface HandOver {
  /** Resolves when it is over. Rejects when it is not known who will serve them. */
  readonly done: Promise<void>;
  /** What is written last of them here is in that batch. */
  isInBatch(batch: number): void;
  /** It has come to nothing. */
  failed(error: unknown): void;
}

interface Going {
  readonly isIn: IsIn;
  /** Number of the batch that has the last that is written of them here. */
  batch: number;
  /** Told first: the place of its services is another now. */
  readonly over: () => void;
  readonly settle: (error: unknown) => void;
}

/** Services that go to another member: nothing of them is taken or answered while their last batch is on its way. */
export class HandOvers {
  #all: Going[] = [];

  has(key: ServiceKey): boolean {
    return this.#all.some(({ isIn }) => isIn(key));
  }

  /** From now on nothing of them is taken. */
  begin(isIn: IsIn, over: () => void): HandOver {
    let settle: Going["settle"] = () => {};
    const done = new Promise<void>((resolve, reject) => {
      settle = (error) => (error === null ? resolve() : reject(error));
    });
    // Nobody may have asked for it yet when it fails.
    done.catch(() => {});
    const going: Going = { isIn, batch: Number.POSITIVE_INFINITY, over, settle };
    this.#all.push(going);
    return {
      done,
      isInBatch: (batch) => {
        going.batch = batch;
      },
      failed: (error) => {
        this.#all = this.#all.filter((each) => each !== going);
        settle(error);
      },
    };
  }

  /** Those whose last batch is flushed by now are over: calls for each. */
  flushed(batch: number, told: (isIn: IsIn) => void): void {
    const over = this.#all.filter((going) => going.batch <= batch);
    if (over.length === 0) return;
    this.#all = this.#all.filter((going) => going.batch > batch);
    for (const going of over) {
      going.over();
      told(going.isIn);
      going.settle(null);
    }
  }

  failed(error: unknown): void {
    const all = this.#all;
    this.#all = [];
    for (const { settle } of all) settle(error);
  }
}
