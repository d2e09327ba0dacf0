// What a process believed of its locks, appended to a file that outlives it.
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
    if (++this.#count % this.#holdsANotice === 0) notify("progress");
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
