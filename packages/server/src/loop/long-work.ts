import type { LoopRuntime } from "./runtime.js";

/** Work that takes long, in slices: one in each turn of the event loop, whoever it belongs to. */
export class LongWork {
  readonly #runtime: Pick<LoopRuntime, "defer">;
  /** The turn that was given last. */
  #last: Promise<void> = Promise.resolve();

  constructor(runtime: Pick<LoopRuntime, "defer">) {
    this.#runtime = runtime;
  }

  /**
   * Does it to its end. The first slice at once, and so all of it when it is short; nothing else happens between the last slice and `over`.
   * @param assertWanted asked before each further slice. It throws when nobody wants the rest
   */
  async finish<T, U>(work: Iterator<unknown, T>, assertWanted: () => void, over: (done: T) => U): Promise<U> {
    for (let step = work.next(); ; step = work.next()) {
      if (step.done) return over(step.value);
      await this.#turn();
      assertWanted();
    }
  }

  #turn(): Promise<void> {
    this.#last = this.#last.then(() => new Promise((resolve) => this.#runtime.defer(resolve)));
    return this.#last;
  }
}
