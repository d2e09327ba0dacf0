import type { Change, Store } from "../store/index.js";

export interface BatchesHost {
  /** Where batches go now; null: nowhere, as long as the store does not work. */
  store(): Store | null;
  flushed(batch: number): void;
  /** The outcome of a commit is not known, or it failed (R7). */
  failed(error: unknown): void;
}

interface Batch {
  readonly number: number;
  readonly changes: readonly Change[];
}

/** What is to be written, batch by batch. One commit is in flight at a time; what comes meanwhile is the next batch. */
export class Batches {
  readonly #host: BatchesHost;
  #changes: Change[] = [];
  #number = 1;
  /** Nothing is added to these any more. */
  #sealed: Batch[] = [];
  #committed = 0;
  #committing: Promise<void> | null = null;
  /** Rises when all is dropped: what is in flight then is of a life that is over, whatever comes of it. */
  #life = 0;

  constructor(host: BatchesHost) {
    this.#host = host;
  }

  /** Of the batch that changes are added to. */
  get number(): number {
    return this.#number;
  }

  /** Of the last batch that is flushed. */
  get committed(): number {
    return this.#committed;
  }

  /** Nothing was added since the last one was sealed. */
  get isEmpty(): boolean {
    return this.#changes.length === 0;
  }

  add(change: Change): void {
    this.#changes.push(change);
  }

  /** What has been added until now, if anything, is committed by itself. */
  seal(): void {
    if (!this.isEmpty) this.#sealed.push(this.#next());
  }

  /** Begins the next commit, if there is something to commit and none is in flight. */
  commit(): void {
    const store = this.#host.store();
    if (this.#committing !== null || store === null) return;
    const batch = this.#sealed.shift() ?? (this.isEmpty ? null : this.#next());
    if (batch === null) return;
    const life = this.#life;
    this.#committing = store.commit(batch.changes).then(
      () => {
        if (life === this.#life) this.#flushed(batch.number);
      },
      (error: unknown) => {
        if (life === this.#life) this.#host.failed(error);
      },
    );
  }

  /** Resolves when none is in flight. */
  async settle(): Promise<void> {
    while (this.#committing !== null) await this.#committing;
  }

  /** Takes out what would be the next batch: whoever opens or closes the store commits that himself. */
  take(): readonly Change[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }

  /** Nothing of all this is to be written any more. */
  clear(): void {
    this.#life++;
    this.#committing = null;
    this.#sealed = [];
    this.#changes = [];
    this.#committed = this.#number - 1;
  }

  #next(): Batch {
    return { number: this.#number++, changes: this.take() };
  }

  #flushed(number: number): void {
    this.#committing = null;
    this.#committed = number;
    this.#host.flushed(number);
  }
}
