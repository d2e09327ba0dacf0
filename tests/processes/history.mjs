// What a process saw of its locks, appended to a file that outlives it.
import { appendFileSync } from "node:fs";
import { clockMs, notify } from "./mailbox.mjs";

export class History {
  #file;
  #count = 0;
  #holdsANotice;

  /** @param holdsANotice how many holds make one notice of progress */
  constructor(file, holdsANotice) {
    this.#file = file;
    this.#holdsANotice = holdsANotice;
  }

  /** A hold, from when its holder knew of it until its holder began to give it back, or could not trust it any more. */
  hold(hold) {
    this.#add({ kind: "hold", ...hold });
  }

  /** One more hold of a lock that many want is over. */
  progress() {
    if (++this.#count % this.#holdsANotice === 0) notify("progress");
  }

  /**
   * A release, an unlock or a check, begun at this time. Gives what writes down its answer, which has come just now;
   * without one, it never came.
   */
  ask(op) {
    const calledMs = clockMs();
    return (result = null) => {
      this.#add({ ...op, calledMs, returnedMs: result === null ? null : clockMs(), result });
    };
  }

  /** Somebody asked for a hold that ends by itself, and never heard of it. */
  unheard(name, client, calledMs) {
    this.#add({ kind: "unheard", name, client, calledMs });
  }

  /** A call that did not go as it should: begun and ended at these times. */
  trouble(doing, what, fromMs) {
    this.#add({ kind: "trouble", doing, what, fromMs, untilMs: clockMs() });
  }

  /** The server has acknowledged that this name is locked, and nobody will unlock it. */
  kept(name, token = null) {
    this.#add({ kind: "kept", name, token });
  }

  /** The server has acknowledged that this name was unlocked, and nobody will lock it again. */
  freed(name) {
    this.#add({ kind: "freed", name });
  }

  #add(entry) {
    appendFileSync(this.#file, `${JSON.stringify(entry)}\n`);
  }
}
