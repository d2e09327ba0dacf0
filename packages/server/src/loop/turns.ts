import type { LoopRuntime } from "./runtime.js";

/** When a loop has its turns: each is due once, however often it is asked for. */
export class Turns {
  readonly #runtime: Pick<LoopRuntime, "defer">;
  readonly #run: () => void;
  #isDue = false;
  #hasEnd = false;

  constructor(runtime: Pick<LoopRuntime, "defer">, run: () => void) {
    this.#runtime = runtime;
    this.#run = run;
  }

  schedule(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#runtime.defer(
      () => {
        // Unless it was run already, by a stop that did not wait.
        if (this.#isDue) this.#run();
      },
      () => this.#takeEnd(),
    );
  }

  /** A connection has ended. */
  ended(): void {
    this.#hasEnd = true;
  }

  /** It is run now. */
  begun(): void {
    this.#isDue = false;
  }

  #takeEnd(): boolean {
    const hasEnd = this.#hasEnd;
    this.#hasEnd = false;
    return hasEnd;
  }
}
